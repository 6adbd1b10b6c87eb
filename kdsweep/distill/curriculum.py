"""CTKD: a temperature that is learned against the student, harder as training goes on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.distill.base import epoch_number


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor (negative: reversed)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` itself, whose gradient is multiplied by ``factor``.

    Source: Ganin and Lempitsky 2015, Unsupervised Domain Adaptation by Backpropagation, section 3.
    """
    scaled: Tensor = _ScaledGradient.apply(x, factor)
    return scaled


def reversal(epoch: float, epochs: float = 10.0) -> float:
    """The gradient's factor: from 0 to -1 on half a cosine over the first ``epochs``.

    It is constant within an epoch, and the first counts as 1, as in the authors' code.
    """
    progress = min(epoch_number(epoch) / epochs, 1.0)
    return (math.cos(math.pi * progress) - 1) / 2


class CurriculumTemperature(nn.Module):
    """A learned temperature for each member: T = 1 + 20 * sigmoid(theta).

    Theta starts at 1 (T = 15.6) and is trained by the student's optimiser on the student's loss,
    with its gradient reversed: the temperature seeks what the student finds hardest.

    Args:
        members: N.
        lowest: the lower end of T.
        span: from there to the upper end of T.
        reversal_epochs: over which the reversal grows.

    Source: Li et al. 2023, Curriculum Temperature for Knowledge Distillation, equations 5 to 8
    (the global version).
    """

    def __init__(
        self,
        members: int,
        *,
        lowest: float = 1.0,
        span: float = 20.0,
        reversal_epochs: float = 10.0,
    ) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(members))  # [N]
        self.lowest = lowest
        self.span = span
        self.reversal_epochs = reversal_epochs

    def forward(self, epoch: float) -> Tensor:
        """The temperatures [N] at ``epoch``, with the reversed gradient behind them."""
        theta = scaled_gradient(self.theta, reversal(epoch, self.reversal_epochs))
        return self.lowest + self.span * torch.sigmoid(theta)
