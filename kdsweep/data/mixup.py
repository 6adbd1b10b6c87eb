"""Mixup: every image blended with another of its batch, as a function of its keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdsweep import streams

_PARTNER, _RADIUS, _ANGLE = range(3)


def mixup(
    images: Tensor, seeds: Tensor, epoch: int, step: int, *, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend each image with a partner: lambda * image + (1 - lambda) * partner.

    The caller blends the losses of the two labels with the same lambda. Partner and lambda are a
    pure function of (seed, epoch, step) and the batch's size.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization (ICLR 2018), equation 2.

    Args:
        images: Normalised, [S, B, C, H, W].
        seeds: Int64 [S].
        epoch: Counted from 0.
        step: Batch of the epoch, counted from 0.
        alpha: Of Beta(alpha, alpha), above 0.

    Returns:
        Blended images [S, B, C, H, W]; partners int64 [S, B], positions in the batch; lambda
        [S], one for the whole batch, in at least float32.
    """
    partner = partners(seeds, epoch, step, batch=images.shape[1])
    weight = lambdas(seeds, epoch, step, alpha=alpha)
    weight = weight.to(torch.promote_types(images.dtype, torch.float32))
    member = torch.arange(len(seeds), device=seeds.device)[:, None]
    lam = weight.to(images.dtype)[:, None, None, None, None]
    return images * lam + images[member, partner] * (1 - lam), partner, weight


def partners(seeds: Tensor, epoch: int, step: int, *, batch: int) -> Tensor:
    """A random permutation of the batch for each seed, int64 [S, B]."""
    position = torch.arange(batch, device=seeds.device)
    keys = streams.bits(seeds[:, None], streams.MIXUP, epoch, step, _PARTNER, position)
    return keys.argsort(dim=1, stable=True)


def lambdas(seeds: Tensor, epoch: int, step: int | Tensor, *, alpha: float) -> Tensor:
    """Beta(alpha, alpha), float64 [S], exact for every alpha > 0.

    With T of Student's t distribution with v = 2 alpha degrees of freedom,
    1/2 + T / (2 sqrt(v + T^2)) is Beta(alpha, alpha); and T = sqrt(v (U^(-2/v) - 1)) cos(2 pi V)
    for uniform U, V (Bailey 1994, Polar generation of random variates with the t-distribution).
    Together: (1 + c / sqrt(r + c^2)) / 2 with c = cos(2 pi V), r = 1 / (U^(-1/alpha) - 1).
    """
    u, v = (
        _uniform(streams.bits(seeds, streams.MIXUP, epoch, step, what))
        for what in (_RADIUS, _ANGLE)
    )
    c = torch.cos(2 * math.pi * v)
    log_u = torch.log(u) / alpha
    r = torch.exp(log_u) / -torch.expm1(log_u)
    return (1 + c / torch.sqrt(r + c * c)) / 2


def _uniform(bits: Tensor) -> Tensor:
    """Random bits to float64 strictly between 0 and 1: the centres of 2^52 equal steps."""
    return ((bits & ((1 << 52) - 1)).double() + 0.5) * 2.0**-52
