"""CTKD: a temperature that is learned against the student, harder as training goes on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.losses.base import epoch_number


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


def curriculum_temperature(
    theta: Tensor,
    epoch: float,
    *,
    lowest: float = 1.0,
    span: float = 20.0,
    reversal_epochs: float = 10.0,
) -> Tensor:
    """T = lowest + span * sigmoid(theta) [N], with the reversed gradient behind it.

    Args:
        theta: learned [N].
        epoch: epochs trained so far, with fraction.
        lowest: the lower end of T.
        span: from there to the upper end of T.
        reversal_epochs: over which the reversal grows.

    Source: Li et al. 2023, Curriculum Temperature for Knowledge Distillation, equations 5 to 8
    (the global version).
    """
    return lowest + span * torch.sigmoid(scaled_gradient(theta, reversal(epoch, reversal_epochs)))


class CurriculumTheta(nn.Module):
    """A member's theta, trained by the student's optimiser on the student's own loss.

    It starts at 1 (T = 15.6). Stacked for N members it puts out [1, N], as a network that has
    its members folded into the channels does.
    """

    stacks = True  # see train.grouped

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(1))  # [1]; [N, 1] where it is stacked

    def forward(self) -> Tensor:
        """Theta as the output [1, 1] of a batch of one image, or [1, N] where it is stacked."""
        return self.theta.reshape(1, -1)
