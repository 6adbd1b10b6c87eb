"""Random numbers as a pure function of their keys: no generator, no state, any device.

A member's data order, views and dropout are drawn from its own seed, the epoch or step, and the
position alone, so they do not depend on which other members train beside it. The mixer is
splitmix64's finaliser (Steele, Lea, Flood 2014), in wrapping 64-bit integer arithmetic, which
gives the same bits on a CPU and on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

# What a stream is for: a first key that keeps the streams of one seed apart.
ORDER, CROP, FLIP, ERASE, MIXUP, DROPOUT, NOISE = range(1, 8)

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(x: Tensor, n: int) -> Tensor:
    """Logical shift of int64, where torch's own is arithmetic."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def bits(first: Tensor, *keys: Tensor | int) -> Tensor:
    """Hash integer keys, broadcast against one another, to 64 random bits in an int64."""
    return mixed(torch.zeros_like(first, dtype=torch.int64), first, *keys)


def mixed(state: Tensor, *keys: Tensor | int) -> Tensor:
    """``bits(*before, *keys)``, where ``state`` is ``bits(*before)``."""
    for key in keys:
        state = (state ^ key) + _GOLDEN
        state = (state ^ _shift_right(state, 30)) * _MIX1
        state = (state ^ _shift_right(state, 27)) * _MIX2
        state = state ^ _shift_right(state, 31)
    return state


def uniform(first: Tensor, *keys: Tensor | int) -> Tensor:
    """Float32 in [0, 1) with 24 random bits, one for each broadcast combination of the keys."""
    return unit(bits(first, *keys))


def unit(drawn: Tensor) -> Tensor:
    """Random bits as float32 in [0, 1): their first 24."""
    return _shift_right(drawn, 40).to(torch.float32) * 2.0**-24


def normal(first: Tensor, *keys: Tensor | int) -> Tensor:
    """Standard normal float32, by the inverse of its distribution function, within +-5.4."""
    middle = (_shift_right(bits(first, *keys), 40).to(torch.float64) + 0.5) * 2.0**-24
    drawn: Tensor = torch.special.ndtri(middle)
    return drawn.to(torch.float32)


def integers(high: int, first: Tensor, *keys: Tensor | int) -> Tensor:
    """Int64 in [0, high), uniform to within high / 2**63."""
    return _shift_right(bits(first, *keys), 1) % high


def permutation(n: int, seeds: Tensor, epoch: int) -> Tensor:
    """The order [S, n] in which each of the seeds [S] visits n images in one epoch."""
    position = torch.arange(n, device=seeds.device)
    return bits(seeds[:, None], ORDER, epoch, position).argsort(dim=1, stable=True)
