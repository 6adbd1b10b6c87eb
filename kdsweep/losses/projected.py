"""What the losses on linear projections of both networks' embeddings share."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.base import Shapes
from kdsweep.losses.features import TAPS, FeatureLoss
from kdsweep.losses.options import Count, Option

PROJECTED: Mapping[str, Option] = {**TAPS, "dimensions": Count(128)}


class ProjectedLoss(FeatureLoss):
    """A loss on learned projections to ``dimensions`` numbers; its options include ``PROJECTED``.

    Both projections are the student's to learn, the teacher's too.
    """

    options = PROJECTED
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


def _projection(shape: tuple[int, ...], size: int) -> nn.Module:
    linear = nn.Linear(math.prod(shape), size)
    return linear if len(shape) == 1 else nn.Sequential(nn.Flatten(), linear)
