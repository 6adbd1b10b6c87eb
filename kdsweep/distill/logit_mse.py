"""Logit matching: mean squared difference of the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from kdsweep.distill.base import Batch
from kdsweep.distill.logits import LogitLoss


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and classes of (z_s - z_t)^2: logits [*, B, K] -> [*].

    Source: Ba and Caruana 2014, Do Deep Nets Really Need to be Deep?, equation 1.
    """
    return (student - teacher).square().mean((-2, -1))


class LogitMSE(LogitLoss):
    """Logit matching; published with weight 0.1 beside CE 1."""

    name = "logit_mse"
    defaults: ClassVar[Mapping[str, float]] = {"weight": 0.1}

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        return logit_mse(student, teacher)
