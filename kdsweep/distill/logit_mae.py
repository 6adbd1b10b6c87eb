"""Mean absolute difference of the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from kdsweep.distill.base import Batch
from kdsweep.distill.logits import LogitLoss


def logit_mae(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and classes of |z_s - z_t|: logits [*, B, K] -> [*].

    Source: Fang et al. 2019, Data-Free Adversarial Distillation, equation 4.
    """
    return (student - teacher).abs().mean((-2, -1))


class LogitMAE(LogitLoss):
    """What a student loses against a generator that looks for where the two networks differ."""

    name = "logit_mae"
    defaults: ClassVar[Mapping[str, float]] = {"weight": 1.0}

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        return logit_mae(student, teacher)
