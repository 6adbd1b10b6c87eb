"""CC: the differences between both networks' embeddings, correlated from image to image."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kdsweep.losses.base import Batch
from kdsweep.losses.options import LossSpec
from kdsweep.losses.projected import PROJECTED, ProjectedLoss


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over neighbours b, b + 1 of the batch of sum over d of delta_b[d] * delta_(b+1)[d].

    delta = |student - teacher|, element by element.

    Args:
        student: projections [*, B, D], B >= 2.
        teacher: projections [*, B, D].

    Returns:
        [*].

    Source: Peng et al. 2019, Correlation Congruence for Knowledge Distillation, in the form that
    its authors gave to the benchmark of Tian et al. 2020 (HobbitLong/RepDistiller, CC.py), whose
    weight and published accuracies are those of this form. The paper itself compares the
    networks' matrices of kernels instead.
    """
    delta = (student - teacher).abs()
    return (delta[..., :-1, :] * delta[..., 1:, :]).sum(-1).mean(-1)


class CC(ProjectedLoss):
    """CC on projections to 128 numbers; published with weight 0.02 beside CE 1."""

    spec = LossSpec(name="cc", weight=0.02, options=PROJECTED)

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        ((ours, theirs),) = self.features(batch)
        return correlation(ours, theirs)
