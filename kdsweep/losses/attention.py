"""Attention transfer: where in the image the activations are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base import Batch
from kdsweep.losses.features import TAPS, FeatureLoss, last_stages, match_maps
from kdsweep.losses.options import LossSpec


def attention_map(maps: Tensor) -> Tensor:
    """Mean square over channels, flattened and of L2 norm 1: [*, C, H, W] -> [*, H * W]."""
    return F.normalize(maps.square().mean(-3).flatten(-2), dim=-1)


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over images and positions of (a_s - a_t)^2: maps [*, B, C, H, W] -> [*].

    The larger map is averaged down to the smaller before attention is taken.

    Source: Zagoruyko and Komodakis 2017, Paying More Attention to Attention, equation 2 with
    p = 2, and the element mean of the authors' code.
    """
    student, teacher = match_maps(student, teacher)
    return (attention_map(student) - attention_map(teacher)).square().mean((-2, -1))


class Attention(FeatureLoss):
    """Attention transfer, summed over every stage; published with weight 1000."""

    spec = LossSpec(name="attention", weight=1000.0, options=TAPS)

    def default_taps(
        self, student: nn.Module, teacher: nn.Module, image_size: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every stage, paired from the deepest up."""
        return last_stages(student, teacher)

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        stages = [attention(s, t) for s, t in self.features(batch)]
        return torch.stack(stages).sum(0)
