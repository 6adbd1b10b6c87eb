"""Dropout whose mask is a pure function of (member's seed, step, layer), in every execution."""

from __future__ import annotations

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


def seed_dropout(model: nn.Module) -> DropoutClock:
    """Replace every nn.Dropout in ``model``, in place; all of them read the returned clock."""
    clock = DropoutClock()
    layers = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Dropout)
    ]
    for layer, (parent, name, child) in enumerate(layers):
        setattr(parent, name, SeededDropout(child.p, layer=layer, clock=clock))
    return clock
