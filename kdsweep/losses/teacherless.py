"""The controls that need no teacher: label smoothing, and a hand-made teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.base import Batch, Loss, at_least_float32, per_image
from kdsweep.losses.logits import is_label
from kdsweep.losses.options import LossSpec, Number


def uniform_cross_entropy(student: Tensor) -> Tensor:
    """Cross-entropy to the uniform distribution, mean over the batch: logits [*, B, K] -> [*].

    Source: Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.
    """
    return -F.log_softmax(student, -1).mean((-2, -1))


def handmade_teacher_kl(
    student: Tensor, labels: Tensor, temperature: Tensor, correct_probability: Tensor
) -> Tensor:
    """KL from softmax(d / T) to the student's probabilities, mean over the batch.

    d is the hand-made distribution: ``correct_probability`` for the label, the rest shared by
    the other classes. As in the authors' code the probabilities d themselves go through the
    tempered softmax, the student's logits are not tempered, and there is no T^2. At T = 20 the
    target is then close to uniform (0.105 for the label of 10 classes), and the loss close to
    label smoothing; a low T sharpens it.

    Args:
        student: logits [*, B, K].
        labels: int64 [*, B].
        temperature: T [*].
        correct_probability: [*].

    Returns:
        [*].

    Source: Yuan et al. 2020, Revisiting Knowledge Distillation via Label Smoothing
    Regularization, section 5, and its code (Tf-KD_reg).
    """
    k = student.shape[-1]
    t = per_image(temperature)
    right = per_image(correct_probability) / t
    wrong = (1 - per_image(correct_probability)) / (k - 1) / t
    log_target = F.log_softmax(torch.where(is_label(labels, k), right, wrong), -1)
    log_s = F.log_softmax(student, -1)
    return F.kl_div(log_s, log_target, reduction="none", log_target=True).sum(-1).mean(-1)


class LabelSmoothing(Loss):
    """Label smoothing: a control for what a teacher adds.

    Alpha is the smoothing: (1 - alpha) * CE + alpha * (cross-entropy to uniform) is
    cross-entropy to labels smoothed by alpha over all K classes (Yuan et al. 2020 spread it
    over the K - 1 others: their smoothing of 0.1 is alpha 0.1 * K / (K - 1) here).
    """

    spec = LossSpec(name="label_smoothing", weight=1.0, needs_teacher=False)

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        return uniform_cross_entropy(at_least_float32(batch.student.logits))


class TeacherFree(Loss):
    """A hand-made teacher; published with alpha 0.1, T 20 and 0.99 for the label.

    Its temperature is its own option: ``distill.temperature`` doesn't reach it.
    """

    spec = LossSpec(
        name="teacher_free",
        weight=1.0,
        options={
            "temperature": Number(20.0, positive=True),
            "correct_probability": Number(0.99, fraction=True),
        },
        needs_teacher=False,
        uses_labels=True,
    )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        logits = at_least_float32(batch.student.logits)
        return handmade_teacher_kl(
            logits, batch.labels, h["temperature"], h["correct_probability"]
        )
