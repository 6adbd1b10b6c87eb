"""Logit matching: how far the student's logits are from the teacher's, untempered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from kdsweep.losses.base import Batch
from kdsweep.losses.logits import STANDARDIZE, LogitLoss
from kdsweep.losses.options import LossSpec


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and classes of (z_s - z_t)^2: logits [*, B, K] -> [*].

    Source: Ba and Caruana 2014, Do Deep Nets Really Need to be Deep?, equation 1.
    """
    return (student - teacher).square().mean((-2, -1))


def logit_mae(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and classes of |z_s - z_t|: logits [*, B, K] -> [*].

    Source: Fang et al. 2019, Data-Free Adversarial Distillation, equation 4.
    """
    return (student - teacher).abs().mean((-2, -1))


class LogitMatching(LogitLoss):
    """A distance between logits as a loss."""

    @staticmethod
    @abstractmethod
    def distance(student: Tensor, teacher: Tensor) -> Tensor:
        """Of logits [N, B, K], [N]."""

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        return self.distance(*self.logits(batch))


class LogitMSE(LogitMatching):
    """Mean squared difference; published with weight 0.1 beside CE 1."""

    spec = LossSpec(name="logit_mse", weight=0.1, options=STANDARDIZE)
    distance = staticmethod(logit_mse)


class LogitMAE(LogitMatching):
    """Mean absolute difference: what a student loses against an adversarial generator."""

    spec = LossSpec(name="logit_mae", weight=1.0, options=STANDARDIZE)
    distance = staticmethod(logit_mae)
