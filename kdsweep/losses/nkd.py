"""NKD: a soft cross-entropy on the label, and one on the other classes made to sum to 1."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base import Batch, per_image
from kdsweep.losses.logits import STANDARDIZE, LogitLoss, beside, is_label, pick
from kdsweep.losses.options import LossSpec, Number


def nkd(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: Tensor, gamma: Tensor
) -> Tensor:
    """-mean p_t(y) log p_s(y) - gamma T^2 mean sum over k != y of q_t(k) log q_s(k).

    p is the softmax at temperature 1, q the softmax at T of the classes beside y. It is a
    cross-entropy, not a divergence: it doesn't reach 0 where the networks agree.

    Args:
        student: logits [*, B, K].
        teacher: logits [*, B, K].
        labels: y, int64 [*, B].
        temperature: T [*].
        gamma: weight of the second term [*].

    Returns:
        [*], means over the batch.

    Source: Yang et al. 2023, From Knowledge Distillation to Self-Knowledge Distillation,
    equation 8.
    """
    p_t = pick(F.softmax(teacher, -1), labels)
    log_p_s = pick(F.log_softmax(student, -1), labels)
    t = per_image(temperature)
    label = is_label(labels, student.shape[-1])
    log_q_t, _ = beside(teacher / t, label)
    log_q_s, _ = beside(student / t, label)
    rest = (log_q_t.exp() * log_q_s).sum(-1).mean(-1)
    return -(p_t * log_p_s).mean(-1) - gamma * temperature.square() * rest


class NKD(LogitLoss):
    """NKD; published with weight 1 beside CE 1, on CIFAR-100 with gamma 3.5 and T 3.

    On ImageNet it is gamma 1.5 and T 1 (yzd-v/cls_KD, configs/distillers).
    """

    spec = LossSpec(
        name="nkd",
        weight=1.0,
        options={**STANDARDIZE, "gamma": Number(3.5)},
        uses_temperature=True,
        uses_labels=True,
    )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        return nkd(student, teacher, batch.labels, h["temperature"], h["gamma"])
