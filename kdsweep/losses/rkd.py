"""RKD: the distances and the angles between the embeddings of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base import Batch
from kdsweep.losses.features import TAPS, FeatureLoss
from kdsweep.losses.options import LossSpec, Number


def relations(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """What RKD compares, from embeddings [*, B, D].

    The cosine at i between j and k follows from the three distances,
    (d_ij^2 + d_ik^2 - d_jk^2) / (2 d_ij d_ik), at a cost that doesn't grow with D.

    Returns:
        Distances [*, B, B] divided by their mean over pairs, and cosines [*, B, B, B] indexed
        by (i, j, k). Two equal embeddings have distance 0 and no direction, and send back a
        bounded gradient.
    """
    batch = embeddings.shape[-2]
    distance = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    apart = distance > 1e-6
    inverse = torch.where(apart, distance, 1.0).reciprocal() * apart
    square = distance.square()
    cosine = square.unsqueeze(-1) + square.unsqueeze(-2) - square.unsqueeze(-3)
    cosine = cosine * (inverse / 2).unsqueeze(-1) * inverse.unsqueeze(-2)
    mean = distance.sum((-2, -1), keepdim=True) / max(batch * (batch - 1), 1)
    return distance / mean.clamp_min(1e-12), cosine


def rkd_terms(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """The distance and the angle term of RKD, means over all pairs and triples.

    Args:
        student: embeddings [*, B, D].
        teacher: embeddings [*, B, D'].

    Returns:
        Both [*]: smooth L1 (knee at 1) of the relative distances and of the cosines. Memory
        grows with B^3 for each member.

    Source: Park et al. 2019, Relational Knowledge Distillation, its distance-wise and angle-wise
    losses, as RepDistiller averages them (distiller_zoo/RKD.py).
    """
    batch = student.shape[:-2]
    ours, theirs = relations(student), relations(teacher)
    distance, angle = (
        F.smooth_l1_loss(s, t.expand_as(s), reduction="none").flatten(len(batch)).mean(-1)
        for s, t in zip(ours, theirs, strict=True)
    )
    return distance, angle


class RKD(FeatureLoss):
    """Relational distillation on the embeddings; published with distance 25 and angle 50."""

    spec = LossSpec(
        name="rkd",
        weight=1.0,
        options={**TAPS, "distance_weight": Number(25.0), "angle_weight": Number(50.0)},
    )
    single = True

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        ((ours, theirs),) = self.features(batch)
        distance, angle = rkd_terms(ours.flatten(2), theirs.flatten(2))
        return h["distance_weight"] * distance + h["angle_weight"] * angle
