"""What the losses on logits share: raised precision, standardisation, the classes beside y."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kdsweep.losses.base import Batch, Loss, at_least_float32
from kdsweep.losses.options import Option, Switch

STANDARDIZE: Mapping[str, Option] = {"standardize": Switch(default=False)}


class LogitLoss(Loss):
    """A loss on both networks' logits, whose options include ``STANDARDIZE``."""

    options = STANDARDIZE

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's [N, B, K], in float32 at least."""
        assert batch.teacher is not None
        student = at_least_float32(batch.student.logits)
        teacher = at_least_float32(batch.teacher.logits)
        if self.structure["standardize"]:
            return standardized(student), standardized(teacher)
        return student, teacher


def standardized(logits: Tensor) -> Tensor:
    """Each image's logits [*, K] with mean 0 and standard deviation 1.

    The standard deviation is the sample's (divisor K - 1), as in the authors' code; at K = 10
    it is 5.4 % above the population's, which acts as a temperature 5.4 % higher. It is
    sqrt(variance + 1e-14), which has a gradient where all logits are equal.

    Source: Sun et al. 2024, Logit Standardization in Knowledge Distillation, Algorithm 1.
    """
    centred = logits - logits.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / (logits.shape[-1] - 1)
    return centred / (variance + 1e-14).sqrt()


def pick(values: Tensor, labels: Tensor) -> Tensor:
    """The entry of each label [*, B] in values [*, B, K] -> [*, B]; size-1 axes broadcast."""
    return torch.take_along_dim(values, labels.unsqueeze(-1), dim=-1).squeeze(-1)


def is_label(labels: Tensor, classes: int) -> Tensor:
    """Where the label's entry is: int64 [*, B] -> bool [*, B, K]."""
    return torch.arange(classes, device=labels.device) == labels.unsqueeze(-1)


def beside(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The K - 1 classes beside the label.

    Args:
        logits: [*, B, K].
        label: from ``is_label``, bool [*, B, K].

    Returns:
        Their log-softmax [*, B, K] with 0 in the label's place, so that it adds nothing to a
        divergence, and their logsumexp [*, B].
    """
    total = logits.masked_fill(label, -torch.inf).logsumexp(-1)
    return (logits - total.unsqueeze(-1)).masked_fill(label, 0.0), total
