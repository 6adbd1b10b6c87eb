"""In-batch InfoNCE: an image's two embeddings find each other among the batch's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base import Batch, per_image
from kdsweep.losses.options import LossSpec, Number
from kdsweep.losses.projected import PROJECTED, ProjectedLoss


def infonce(student: Tensor, teacher: Tensor, tau: Tensor) -> Tensor:
    """Cross-entropy of picking the own image among B by cosine / tau, mean of both directions.

    Args:
        student: projections [*, B, D].
        teacher: projections [*, B, D].
        tau: [*].

    Returns:
        [*], means over the batch; log B where the projections say nothing.

    Source: van den Oord et al. 2018, Representation Learning with Contrastive Predictive Coding,
    equation 4, in both directions as in Radford et al. 2021 (CLIP).
    """
    ours, theirs = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    scores = ours @ theirs.transpose(-2, -1) / per_image(tau)
    directions = [
        F.log_softmax(scores, dim).diagonal(dim1=-2, dim2=-1).mean(-1) for dim in (-1, -2)
    ]
    return -torch.stack(directions).mean(0)


class InfoNCE(ProjectedLoss):
    """The lighter relative of ``crd``: negatives are the other images of the batch."""

    spec = LossSpec(
        name="infonce", weight=1.0, options={**PROJECTED, "tau": Number(0.07, positive=True)}
    )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        ((ours, theirs),) = self.features(batch)
        return infonce(ours, theirs, h["tau"])
