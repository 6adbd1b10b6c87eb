"""NST: where the channels of a network look, as one distribution compared with another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base import Batch
from kdsweep.losses.features import TAPS, FeatureLoss, last_stages, match_maps
from kdsweep.losses.options import LossSpec


def selectivity(maps: Tensor) -> Tensor:
    """Each channel's activations over positions, of L2 norm 1: [*, C, H, W] -> [*, C, H * W]."""
    return F.normalize(maps.flatten(-2), dim=-1)


def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Mean of the polynomial kernel (x_i . y_j)^2 over i and j: [*, C, D], [*, C', D] -> [*]."""
    return (x @ y.transpose(-2, -1)).square().mean((-2, -1))


def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of both networks' channels, mean over images.

    Args:
        student: maps [*, B, C, H, W].
        teacher: maps [*, B, C', H', W']; the larger is averaged down to the smaller.

    Returns:
        [*].

    Source: Huang and Wang 2017, Like What You Like: Knowledge Distill via Neuron Selectivity
    Transfer, with its polynomial kernel (x . y + c)^d for d = 2 and c = 0, as in
    HobbitLong/RepDistiller, NST.py.
    """
    ours, theirs = (selectivity(maps) for maps in match_maps(student, teacher))
    within = mean_kernel(ours, ours) + mean_kernel(theirs, theirs)
    return (within - 2 * mean_kernel(ours, theirs)).mean(-1)


class NST(FeatureLoss):
    """NST with the polynomial kernel, summed over every stage; published with weight 50.

    The weight beside CE 1 is that of Tian et al. 2020.
    """

    spec = LossSpec(name="nst", weight=50.0, options=TAPS)

    def default_taps(
        self, student: nn.Module, teacher: nn.Module, image_size: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every stage, paired from the deepest up."""
        return last_stages(student, teacher)

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        return torch.stack([nst(s, t) for s, t in self.features(batch)]).sum(0)
