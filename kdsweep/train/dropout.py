"""Dropout whose mask is a pure function of (member's seed, step, layer), in every execution."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.errors import UserError

STEPS = 256  # whose keys are mixed at once


class MemberKeys:
    """The state of n members' random streams, up to the position in a mask.

    Mixing a key takes a dozen operations on n numbers, which on a GPU take as long as on a
    million: so it is done for many steps at once.

    Args:
        seeds: of the members, int64 [n].
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds
        self.tables: dict[int, tuple[int, Tensor]] = {}  # by layer: first step, [STEPS, n]

    def __len__(self) -> int:
        return len(self.seeds)

    def at(self, step: int, layer: int) -> Tensor:
        """``streams.bits(seeds, DROPOUT, step, layer)`` [n]."""
        row = step % STEPS
        first, table = self.tables.get(layer, (-1, self.seeds))
        if first != step - row:
            first = step - row
            steps = torch.arange(first, first + STEPS, device=self.seeds.device)
            table = streams.bits(self.seeds, streams.DROPOUT, steps[:, None], layer)
            self.tables[layer] = first, table
        return table[row]


class DropoutClock:
    """What all dropout layers of a network share: whose masks, and which step it is.

    Attributes:
        layers: how many dropout layers the network has.
    """

    def __init__(self, layers: int = 1) -> None:
        self.layers = layers
        self.start(MemberKeys(torch.zeros(1, dtype=torch.int64)), 0)

    def start(self, keys: MemberKeys, step: int) -> None:
        """Begin a forward pass of the members of ``keys``, in execution order."""
        self.keys = keys
        self.step = step
        self.calls: dict[int, int] = {}  # of each layer, in this forward pass

    def draws(self, layer: int, position: Tensor) -> Tensor:
        """Float32 in [0, 1) for each position [B, 1, ...] and member: [B, n, ...].

        A layer that is called again in the same forward pass draws anew.
        """
        call = self.calls.get(layer, 0)
        self.calls[layer] = call + 1
        state = self.keys.at(self.step, layer + call * self.layers)
        state = state.reshape(1, -1, *[1] * (position.dim() - 2))
        return streams.unit(streams.mixed(state, position))

    def __deepcopy__(self, memo: object) -> DropoutClock:
        return self  # copies of a network keep one time


class SeededDropout(nn.Module):
    """Replaces nn.Dropout; takes [B, n * F, ...] with the members folded into the channels.

    Args:
        p: the share that is dropped.
        layer: its number in the network.
        clock: the network's.
        channels: whether whole channels are dropped, as nn.Dropout1d, 2d and 3d do.
    """

    def __init__(
        self, p: float, *, layer: int, clock: DropoutClock, channels: bool = False
    ) -> None:
        super().__init__()
        self.p = p
        self.channels = channels
        self.layer = layer
        self.clock = clock

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share p of the entries and scale the rest by 1 / (1 - p); identity in eval."""
        if not self.training or self.p == 0:
            return x
        members = len(self.clock.keys)
        shape = (*x.shape[:2], *[1] * (x.dim() - 2)) if self.channels else x.shape
        position = torch.arange(math.prod(shape) // members, device=x.device)
        position = position.reshape(shape[0], 1, shape[1] // members, *shape[2:])
        draws = self.clock.draws(self.layer, position)
        mask = (draws >= self.p).reshape(shape)
        return x * mask / ((1 - self.p) or 1.0)


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
        image = torch.arange(x.shape[0] if self.by_image else 1, device=x.device)
        draws = self.clock.draws(self.layer, image.unsqueeze(1))  # [B or 1, n]
        factor = (draws >= self.p).to(x.dtype) * self.scale
        factor = factor.repeat_interleave(x.shape[1] // len(self.clock.keys), dim=1)
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
    clock.layers = max(len(layers), 1)
    for layer, (parent, name, child) in enumerate(layers):
        setattr(parent, name, _seeded(child, layer, clock))
    return clock


@torch.no_grad()
def refuse_other_randomness(model: nn.Module, image_size: int, *, given: str) -> None:
    """Let no network train that draws from torch's global generator in its forward pass.

    Its students would depend on what trains beside them, and would not come out the same again.

    Args:
        model: as it was made; it stays as it is.
        image_size: pixels, height and width.
        given: what the user gave for the model, as ``key=value``.

    Raises:
        UserError: it draws, such as by functional dropout, which has no layer to be replaced.
    """
    tried = copy.deepcopy(model).train()
    seed_dropout(tried)
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        tried(torch.zeros(2, 3, image_size, image_size))
        drawn = not torch.equal(torch.get_rng_state(), before)
    if drawn:
        raise UserError(
            f"{given}: draws random numbers by itself in training (functional or alpha dropout), "
            "so its runs could not be repeated; choose a network whose dropout is a layer, "
            "nn.Dropout or nn.Dropout2d"
        )


def _seeded(module: Any, layer: int, clock: DropoutClock) -> nn.Module | None:
    """What takes the place of a layer that draws from torch's global generator."""
    if isinstance(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)):
        channels = not isinstance(module, nn.Dropout)
        return SeededDropout(module.p, layer=layer, clock=clock, channels=channels)
    kind = type(module).__name__  # the libraries need not be there
    if kind == "StochasticDepth":
        rows = module.mode == "row"
        return SeededDepth(module.p, by_image=rows, scaled=True, layer=layer, clock=clock)
    if kind == "DropPath":
        p, scaled = module.drop_prob or 0.0, module.scale_by_keep
        return SeededDepth(p, by_image=True, scaled=scaled, layer=layer, clock=clock)
    return None
