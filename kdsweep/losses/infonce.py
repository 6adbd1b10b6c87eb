"""In-batch InfoNCE: an image's two embeddings find each other among the batch's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base import Batch, Shapes, adapter_key, per_image
from kdsweep.losses.features import TAPS, FeatureLoss
from kdsweep.losses.options import Count, LossSpec, Number, Option


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


PROJECTED: Mapping[str, Option] = {**TAPS, "dimensions": Count(128)}


class ContrastiveLoss(FeatureLoss):
    """A loss on linear projections of both networks' embeddings, to ``dimensions`` numbers.

    Its options include ``PROJECTED``.
    """

    single = True

    def adapters(self, student_shapes: Shapes, teacher_shapes: Shapes) -> nn.ModuleDict:
        """A linear projection on each side; maps are flattened first."""
        (ours,), (theirs,) = self.student_taps, self.teacher_taps
        size = self.count("dimensions")
        return nn.ModuleDict(
            {
                adapter_key("student", ours): _projection(student_shapes[ours], size),
                adapter_key("teacher", theirs): _projection(teacher_shapes[theirs], size),
            }
        )


class InfoNCE(ContrastiveLoss):
    """The lighter relative of ``crd``: negatives are the other images of the batch."""

    spec = LossSpec(
        name="infonce", weight=1.0, options={**PROJECTED, "tau": Number(0.07, positive=True)}
    )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        ((ours, theirs),) = self.features(batch)
        return infonce(ours, theirs, h["tau"])


def _projection(shape: tuple[int, ...], size: int) -> nn.Module:
    linear = nn.Linear(math.prod(shape), size)
    return linear if len(shape) == 1 else nn.Sequential(nn.Flatten(), linear)
