"""FitNet's hint, and hints at several depths: regress the teacher's features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.errors import UserError
from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.base import Batch, Shapes
from kdsweep.losses.features import TAPS, FeatureLoss, equal_stages, last_stages, match_maps
from kdsweep.losses.options import LossSpec

MAP, VECTOR = 3, 1  # dimensions of one image's feature


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference over images and elements, for each member.

    Args:
        student: the regressor's output, maps [N, B, C, H, W] or vectors [N, B, D].
        teacher: its feature; of two maps the larger is averaged down to the smaller.

    Returns:
        [N].

    Source: Romero et al. 2015, FitNets: Hints for Thin Deep Nets, equation 3, with the element
    mean of Tian et al. 2020 in place of half the sum.
    """
    if student.dim() == MAP + 2:
        student, teacher = match_maps(student, teacher)
    squares = F.mse_loss(student, teacher.expand_as(student), reduction="none")
    return squares.flatten(1).mean(1)


def regressor(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module | None:
    """From the student's channels to the teacher's; None if the two can't be compared.

    Maps: a 1x1 convolution and batch norm, as the regressor of Tian et al. 2020 for maps of
    one size, without its ReLU, so that layers before an activation can be hints too. Romero et
    al. have a larger convolution without batch norm. Vectors: a linear layer.
    """
    if len(student) == len(teacher) == MAP:
        conv = nn.Conv2d(student[0], teacher[0], kernel_size=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(teacher[0]))
    if len(student) == len(teacher) == VECTOR:
        return nn.Linear(student[0], teacher[0])
    return None


class MultiLevel(FeatureLoss):
    """Hints at several depths, summed; by default at the end of every stage."""

    spec = LossSpec(name="multi_level", weight=100.0, options=TAPS)

    def default_taps(
        self, student: nn.Module, teacher: nn.Module, image_size: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every stage, paired from the deepest up."""
        return last_stages(student, teacher)

    def adapters(self, student_shapes: Shapes, teacher_shapes: Shapes) -> nn.ModuleDict:
        """One regressor for each pair of layers, on the student's side."""
        adapters = nn.ModuleDict()
        for ours, theirs in zip(self.student_taps, self.teacher_taps, strict=True):
            shapes = student_shapes[ours], teacher_shapes[theirs]
            module = regressor(*shapes)
            if module is None:
                raise UserError(
                    f"distill.losses.{self.name}.student_taps={ours}: its feature {shapes[0]} "
                    f"can't be matched with {theirs}'s {shapes[1]}; allowed are two maps or two "
                    "vectors"
                )
            adapters[adapter_key("student", ours)] = module
        return adapters

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        levels = [hint(s, t) for s, t in self.features(batch)]
        return torch.stack(levels).sum(0)


class FitNet(MultiLevel):
    """One hint, by default at the end of a middle stage; published with weight 100.

    It is the middle one, or the deeper of two, of the pairs of stages whose maps have one size:
    for vgg13 and mobilenetv2 the layers at 8 x 8, as published (hint_layer 2 of
    HobbitLong/RepDistiller).
    """

    spec = LossSpec(name="fitnet", weight=100.0, options=TAPS)
    single = True

    def default_taps(
        self, student: nn.Module, teacher: nn.Module, image_size: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The middle pair of stages of one size, where any is needed."""
        if self.structure["student_taps"] and self.structure["teacher_taps"]:
            return (), ()
        pairs = equal_stages(student, teacher, image_size)
        if not pairs:
            raise UserError(
                f"distill.losses.{self.name}: no stage of the student has maps of the size of one "
                "of the teacher's; name layers of one size with student_taps and teacher_taps"
            )
        ours, theirs = pairs[len(pairs) // 2]
        return (ours,), (theirs,)
