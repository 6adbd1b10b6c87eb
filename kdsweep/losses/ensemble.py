"""Several teachers at once: the mean of their probabilities, or of what each makes a student lose.

An ensemble's logits have the teachers in front of the classes: [*, B, E, K].
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.losses.base import Loss, Outputs, at_least_float32


def mean_of_probabilities(logits: Tensor, temperature: Tensor) -> Tensor:
    """Logits whose softmax at T is the mean of the teachers' at T: [N, B, E, K], [N] -> [N, B, K].

    They are T * log mean_e softmax(z_e / T), and added to them the mean of the teachers'
    T * logsumexp(z_e / T), so that teachers who agree give just what each of them says.

    Source: Hinton, Vinyals, Dean 2015, section 1; You et al. 2017, Learning from Multiple
    Teacher Networks, equation 3.
    """
    t = temperature[:, None, None]
    tempered = at_least_float32(logits) / t.unsqueeze(-1)
    mean = F.log_softmax(tempered, -1).logsumexp(-2) - math.log(logits.shape[-2])
    return t * (mean + tempered.logsumexp(-1).mean(-1, keepdim=True))


def one_by_one(ensemble: Outputs) -> list[Outputs]:
    """Each teacher's own outputs [*, B, K]."""
    return [Outputs(logits=logits) for logits in ensemble.logits.unbind(-2)]


def refuse_features(losses: Mapping[str, Loss], teachers: int) -> None:
    """Let no loss look at the features of several teachers.

    Raises:
        UserError: one of them does.
    """
    tapping = [name for name, loss in losses.items() if loss.teacher_taps]
    if teachers > 1 and tapping:
        raise UserError(
            f"teacher.ensemble={teachers}: allowed is 1 with distill.losses.{tapping[0]}, which "
            "looks at one teacher's features; losses on logits take an ensemble"
        )
