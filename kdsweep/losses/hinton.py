"""Hinton's distillation: KL divergence of tempered probabilities, with and without T^2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base import Batch, Structure, per_image
from kdsweep.losses.logits import LogitLoss, standardized


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
    """T^2 * KL; published as CE 0.1, KD 0.9, T 4 on CIFAR-100: alpha 0.9."""

    name = "hinton"
    defaults: ClassVar[Mapping[str, float]] = {"weight": 1.0}
    uses_temperature = True

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        return hinton(student, teacher, h["temperature"])


class HintonNoT2(LogitLoss):
    """KL without T^2, as much code has it: its gradient shrinks as 1 / T^2."""

    name = "hinton_no_t2"
    defaults: ClassVar[Mapping[str, float]] = {"weight": 1.0}
    uses_temperature = True

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        return tempered_kl(student, teacher, h["temperature"])


class Standardized(LogitLoss):
    """``hinton`` on standardised logits; published as CE 0.1, KD 9, T 2: alpha 0.9, weight 10."""

    name = "standardized"
    defaults: ClassVar[Mapping[str, float]] = {"weight": 10.0}
    structure: ClassVar[Mapping[str, Structure]] = {}
    uses_temperature = True

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        return hinton(standardized(student), standardized(teacher), h["temperature"])
