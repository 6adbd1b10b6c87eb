"""DIST: correlations between the networks' probabilities, within images and within classes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kdsweep.losses.base import Batch, per_image
from kdsweep.losses.logits import STANDARDIZE, LogitLoss
from kdsweep.losses.options import LossSpec, Number


def pearson(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along ``dim``.

    Each norm is sqrt(sum of squares + 1e-12): a constant row correlates with nothing, and has a
    bounded gradient.
    """
    x = x - x.mean(dim, keepdim=True)
    y = y - y.mean(dim, keepdim=True)
    x = x / (x.square().sum(dim, keepdim=True) + 1e-12).sqrt()
    y = y / (y.square().sum(dim, keepdim=True) + 1e-12).sqrt()
    return (x * y).sum(dim)


def dist_terms(student: Tensor, teacher: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """The two relations of DIST, each times T^2.

    Args:
        student: logits [*, B, K].
        teacher: logits [*, B, K].
        temperature: T [*].

    Returns:
        inter [*], 1 - the mean correlation of an image's tempered probabilities over classes,
        and intra [*], the same of a class's probabilities over the batch.

    Source: Huang et al. 2022, Knowledge Distillation from A Stronger Teacher, its inter-class and
    intra-class relations.
    """
    t = per_image(temperature)
    ours, theirs = (student / t).softmax(-1), (teacher / t).softmax(-1)
    square = temperature.square()
    inter = square * (1 - pearson(ours, theirs, -1).mean(-1))
    intra = square * (1 - pearson(ours, theirs, -2).mean(-1))
    return inter, intra


class DIST(LogitLoss):
    """DIST; published with weight 2 beside CE 1, both relations weighing 1, T 4."""

    spec = LossSpec(
        name="dist",
        weight=2.0,
        options={**STANDARDIZE, "inter_weight": Number(1.0), "intra_weight": Number(1.0)},
        uses_temperature=True,
    )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        inter, intra = dist_terms(student, teacher, h["temperature"])
        return h["inter_weight"] * inter + h["intra_weight"] * intra
