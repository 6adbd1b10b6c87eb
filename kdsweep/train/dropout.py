"""Dropout whose mask is a pure function of (member's seed, step, layer), in every execution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdsweep import streams


class DropoutClock:
    """What all dropout layers of a network share: whose masks, and which step it is."""

    def __init__(self) -> None:
        self.seeds = torch.zeros(1, dtype=torch.int64)  # [n], the members in execution order
        self.step: Tensor | int = 0

    def __deepcopy__(self, memo: object) -> DropoutClock:
        return self  # copies of a network keep one time


class SeededDropout(nn.Module):
    """Replaces nn.Dropout; takes [B, n * F, ...] with the members folded into the channels."""

    def __init__(self, p: float, *, layer: int, clock: DropoutClock) -> None:
        super().__init__()
        self.p = p
        self.layer = layer
        self.clock = clock

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share p of the entries and scale the rest by 1 / (1 - p); identity in eval."""
        if not self.training or self.p == 0:
            return x
        seeds = self.clock.seeds
        member_shape = (x.shape[0], x.shape[1] // len(seeds), *x.shape[2:])
        size = member_shape[0] * member_shape[1]
        for extent in member_shape[2:]:
            size *= extent
        position = torch.arange(size, device=x.device).reshape(member_shape)
        keys = seeds.reshape(1, -1, *[1] * (x.dim() - 1))
        draws = streams.uniform(
            keys, streams.DROPOUT, self.clock.step, self.layer, position.unsqueeze(1)
        )
        mask = (draws >= self.p).reshape(x.shape)
        return x * mask / (1 - self.p)


class SeededDepth(nn.Module):
    """Replaces torchvision's StochasticDepth and timm's DropPath: drops whole residual branches.

    Huang et al., "Deep Networks with Stochastic Depth" (2016); a draw for each image, or one for
    the batch. Takes what ``SeededDropout`` takes.
    """

    def __init__(
        self, p: float, *, by_image: bool, scaled: bool, layer: int, clock: DropoutClock
    ) -> None:
        super().__init__()
        self.p = p
        self.by_image = by_image
        self.scale = 1 / (1 - p) if scaled and p < 1 else 1.0
        self.layer = layer
        self.clock = clock

    def forward(self, x: Tensor) -> Tensor:
        """Zero an image's branch with probability p, else scale it; identity in eval."""
        if not self.training or self.p == 0:
            return x
        seeds = self.clock.seeds
        image = torch.arange(x.shape[0] if self.by_image else 1, device=x.device)
        draws = streams.uniform(
            seeds, streams.DROPOUT, self.clock.step, self.layer, image.unsqueeze(1)
        )  # [B or 1, n]
        factor = (draws >= self.p).to(x.dtype) * self.scale
        factor = factor.repeat_interleave(x.shape[1] // len(seeds), dim=1)
        return x * factor.reshape(*factor.shape, *[1] * (x.dim() - 2))


def seed_dropout(model: nn.Module) -> DropoutClock:
    """Replace every dropout layer in ``model``, in place; all of them read the returned clock."""
    clock = DropoutClock()
    layers = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if _seeded(child, 0, clock) is not None
    ]
    for layer, (parent, name, child) in enumerate(layers):
        setattr(parent, name, _seeded(child, layer, clock))
    return clock


def _seeded(module: Any, layer: int, clock: DropoutClock) -> nn.Module | None:
    """What takes the place of a layer that draws from torch's global generator."""
    if isinstance(module, nn.Dropout):
        return SeededDropout(module.p, layer=layer, clock=clock)
    kind = type(module).__name__  # the libraries need not be there
    if kind == "StochasticDepth":
        rows = module.mode == "row"
        return SeededDepth(module.p, by_image=rows, scaled=True, layer=layer, clock=clock)
    if kind == "DropPath":
        p, scaled = module.drop_prob or 0.0, module.scale_by_keep
        return SeededDepth(p, by_image=True, scaled=scaled, layer=layer, clock=clock)
    return None
