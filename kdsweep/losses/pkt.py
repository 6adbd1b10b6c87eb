"""PKT: how probable each image of a batch is as another's neighbour."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kdsweep.losses.base import Batch
from kdsweep.losses.features import TAPS, FeatureLoss
from kdsweep.losses.options import LossSpec

_EPS = 1e-7  # of the authors' code: beside norms, and in the logarithm


def neighbours(embeddings: Tensor) -> Tensor:
    """p(j | i) = K_ij / sum over j of K_ij, K = (cosine + 1) / 2: [*, B, D] -> [*, B, B].

    As in the authors' code an image is its own neighbour too.
    """
    norm = embeddings.norm(dim=-1, keepdim=True)
    unit = embeddings / (norm + _EPS)
    kernel = (unit @ unit.transpose(-2, -1) + 1) / 2
    probabilities: Tensor = kernel / kernel.sum(-1, keepdim=True)
    return probabilities


def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over i and j of p_t(j | i) * log(p_t(j | i) / p_s(j | i)), in nats.

    Args:
        student: embeddings [*, B, D].
        teacher: embeddings [*, B, D'].

    Returns:
        [*]. It is KL, a sum over j, divided by B: the published weight goes with the mean.

    Source: Passalis and Tefas 2018, Learning Deep Representations with Probabilistic Knowledge
    Transfer, and its code (passalis/probabilistic_kt; HobbitLong/RepDistiller, PKT.py).
    """
    p_s, p_t = neighbours(student), neighbours(teacher)
    return (p_t * ((p_t + _EPS) / (p_s + _EPS)).log()).mean((-2, -1))


class PKT(FeatureLoss):
    """PKT on the embeddings; published with weight 30000 beside CE 1."""

    spec = LossSpec(name="pkt", weight=30000.0, options=TAPS)
    single = True

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        ((ours, theirs),) = self.features(batch)
        return pkt(ours.flatten(2), theirs.flatten(2))
