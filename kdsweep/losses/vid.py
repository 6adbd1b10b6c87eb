"""VID: a Gaussian of the teacher's features around what the student makes of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.errors import UserError
from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.base import Batch, Shapes
from kdsweep.losses.features import TAPS, FeatureLoss, last_stages, match_maps
from kdsweep.losses.options import LossSpec

MAP = 3  # dimensions of one image's map
_VARIANCE, _EPS = 5.0, 1e-5  # at the start, and the least


def gaussian_nll(mean: Tensor, scale: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images, channels and positions of ((t - mean)^2 / v + log v) / 2.

    v = softplus(scale) + 1e-5 is the variance; log(2 pi) / 2 is left out.

    Args:
        mean: predicted from the student [*, B, C, H, W].
        scale: the same for all positions of a channel [*, B, C, H, W].
        teacher: maps [*, B, C, H', W'] of that size or larger, then averaged down.

    Returns:
        [*].

    Source: Ahn et al. 2019, Variational Information Distillation for Knowledge Transfer, and its
    code (ssahn0215/variational-information-distillation; HobbitLong/RepDistiller, VID.py).
    """
    mean, teacher = match_maps(mean, teacher)
    variance = F.softplus(scale) + _EPS
    return ((teacher - mean).square() / variance + variance.log()).mean((-4, -3, -2, -1)) / 2


class Scaled(nn.Module):
    """Puts a learned scale for each channel behind a map: [B, C, H, W] -> [B, 2 * C, H, W].

    Stacked for N members it takes [B, N * C, H, W] to [B, N * 2 * C, H, W].
    """

    stacks = True  # see train.grouped

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        start = math.log(math.expm1(_VARIANCE - _EPS))
        self.scale = nn.Parameter(torch.full((channels,), start))  # [C]; [N, C] where stacked

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, and behind each member's own its scales at every position."""
        members = maps.view(len(maps), -1, self.channels, *maps.shape[2:])  # [B, N, C, H, W]
        scale = self.scale.reshape(1, -1, self.channels, 1, 1).expand_as(members)
        return torch.cat((members, scale), 2).flatten(1, 2)


def regressor(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module:
    """Three 1x1 convolutions from the student's channels to the teacher's, and their scales.

    A larger map than the teacher's is averaged down first.
    """
    c = teacher[0]
    size = min(student[1], teacher[1]), min(student[2], teacher[2])
    pool = [] if size == student[1:] else [nn.AdaptiveAvgPool2d(size)]
    first, second, third = (nn.Conv2d(before, c, 1, bias=False) for before in (student[0], c, c))
    return nn.Sequential(*pool, first, nn.ReLU(), second, nn.ReLU(), third, Scaled(c))


class VID(FeatureLoss):
    """VID, summed over every stage; published with weight 1 beside CE 1."""

    spec = LossSpec(name="vid", weight=1.0, options=TAPS)

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
            if not len(shapes[0]) == len(shapes[1]) == MAP:
                raise UserError(
                    f"distill.losses.vid.student_taps={ours}: its feature {shapes[0]} can't be "
                    f"matched with {theirs}'s {shapes[1]}; allowed are two maps"
                )
            adapters[adapter_key("student", ours)] = regressor(*shapes)
        return adapters

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        losses = []
        for predicted, teacher in self.features(batch):
            mean, scale = predicted.chunk(2, -3)
            losses.append(gaussian_nll(mean, scale, teacher))
        return torch.stack(losses).sum(0)
