"""SP: which images of a batch are similar to which, in both networks alike."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base import Batch
from kdsweep.losses.features import TAPS, FeatureLoss, stages
from kdsweep.losses.options import LossSpec


def similarities(features: Tensor) -> Tensor:
    """Inner products of a batch's images, each row of L2 norm 1: [*, B, D] -> [*, B, B]."""
    return F.normalize(features @ features.transpose(-2, -1), dim=-1)


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared Frobenius norm of the similarities' difference, over B^2.

    Args:
        student: flattened features [*, B, D].
        teacher: flattened features [*, B, D'].

    Returns:
        [*].

    Source: Tung and Mori 2019, Similarity-Preserving Knowledge Distillation, in the form that its
    author verified for the benchmark of Tian et al. 2020 (HobbitLong/RepDistiller, SP.py).
    """
    return (similarities(student) - similarities(teacher)).square().mean((-2, -1))


class SP(FeatureLoss):
    """SP at the end of the last stage; published with weight 3000 beside CE 1."""

    spec = LossSpec(name="sp", weight=3000.0, options=TAPS)

    def default_taps(
        self, student: nn.Module, teacher: nn.Module, image_size: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The last stage of each."""
        return stages(student)[-1:], stages(teacher)[-1:]

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N], summed over the pairs of layers."""
        pairs = [
            similarity_preserving(ours.flatten(2), theirs.flatten(2))
            for ours, theirs in self.features(batch)
        ]
        return torch.stack(pairs).sum(0)
