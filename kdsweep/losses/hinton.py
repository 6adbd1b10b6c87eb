"""Hinton's distillation: KL divergence of tempered probabilities, with and without T^2."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base import Batch, per_image
from kdsweep.losses.logits import STANDARDIZE, LogitLoss
from kdsweep.losses.options import LossSpec, Switch


def tempered_kl(student: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
    """Mean over the batch of KL(teacher_T || student_T), in nats, without the factor T^2.

    Args:
        student: logits [*, B, K].
        teacher: logits [*, B, K].
        temperature: T [*].

    Returns:
        [*].
    """
    t = per_image(temperature)
    log_s = F.log_softmax(student / t, -1)
    log_t = F.log_softmax(teacher / t, -1)
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1).mean(-1)


def hinton(student: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
    """T^2 * KL(teacher_T || student_T), mean over the batch: logits [*, B, K], T [*] -> [*].

    T^2 keeps the size of the gradient as T grows: the limit is the squared difference of the
    centred logits over 2K.

    Source: Hinton, Vinyals, Dean 2015, Distilling the Knowledge in a Neural Network, section 2.
    """
    return temperature.square() * tempered_kl(student, teacher, temperature)


class Hinton(LogitLoss):
    """T^2 * KL; published as CE 0.1, KD 0.9, T 4 on CIFAR-100: alpha 0.9.

    With ``t2: false`` it is KL alone, as much code has it: its gradient shrinks as 1 / T^2.
    """

    spec = LossSpec(
        name="hinton",
        weight=1.0,
        options={**STANDARDIZE, "t2": Switch(default=True)},
        uses_temperature=True,
    )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        loss = hinton if self.structure["t2"] else tempered_kl
        return loss(*self.logits(batch), h["temperature"])
