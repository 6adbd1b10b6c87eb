"""DKD: the label's probability and the shape of the others are taught apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.losses.base import Batch, classes, epoch_number, per_image
from kdsweep.losses.logits import STANDARDIZE, LogitLoss, beside, is_label, pick
from kdsweep.losses.options import LossSpec, Number


def dkd_terms(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor]:
    """The two halves of DKD, each times T^2, means over the batch.

    Args:
        student: logits [*, B, K], K >= 3.
        teacher: logits [*, B, K].
        labels: y, int64 [*, B].
        temperature: T [*].

    Returns:
        TCKD [*], KL over [p(y), 1 - p(y)], and NCKD [*], KL over the softmax without y. Hinton's
        loss is TCKD + p_t(not y) * NCKD for each image.

    Source: Zhao et al. 2022, Decoupled Knowledge Distillation, its reformulation of KD into TCKD
    and NCKD, and its code (mdistiller, distillers/DKD.py).
    """
    t = per_image(temperature)
    label = is_label(labels, student.shape[-1])
    (rest_s, odds_s), (rest_t, odds_t) = (_split(z / t, labels, label) for z in (student, teacher))
    divergence = partial(F.kl_div, reduction="none", log_target=True)
    target = divergence(F.logsigmoid(odds_s), F.logsigmoid(odds_t))
    target = target + divergence(F.logsigmoid(-odds_s), F.logsigmoid(-odds_t))
    nontarget = divergence(rest_s, rest_t).sum(-1)
    square = temperature.square()
    return square * target.mean(-1), square * nontarget.mean(-1)


def _split(logits: Tensor, labels: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Log-softmax beside the label [*, B, K], and the log-odds of the label [*, B]."""
    rest, total = beside(logits, label)
    return rest, pick(logits, labels) - total


class DKD(LogitLoss):
    """Decoupled distillation: w(epoch) * (target_weight * TCKD + nontarget_weight * NCKD).

    w rises as epoch / warmup_epochs to 1, with epochs counted from 1. The published
    nontarget_weight depends on the pair: 8 for resnet32x4 -> 8x4, 6 for wide ResNets and vgg13, 2
    for resnet56 -> 20 (megvii-research/mdistiller, configs/cifar100/dkd); T 4, CE 1, weight 1.
    """

    spec = LossSpec(
        name="dkd",
        weight=1.0,
        options={
            **STANDARDIZE,
            "target_weight": Number(1.0),
            "nontarget_weight": Number(8.0),
            "warmup_epochs": Number(20.0),
        },
        uses_temperature=True,
        uses_labels=True,
    )

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        if classes(parts["student"]) == 2:
            raise UserError(
                "distill.losses.dkd: allowed with 3 classes or more; with 2 there is nothing "
                "beside the label and its opposite: use hinton"
            )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        student, teacher = self.logits(batch)
        target, nontarget = dkd_terms(student, teacher, batch.labels, h["temperature"])
        warmup = (epoch_number(batch.epoch) / h["warmup_epochs"]).clamp(max=1.0)
        return warmup * (h["target_weight"] * target + h["nontarget_weight"] * nontarget)
