"""The whole loss: L = (1 - alpha) * cross-entropy + alpha * sum of weight * loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base import Loss, Outputs, at_least_float32
from kdsweep.losses.logits import pick


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Images that are ``share`` of one and 1 - ``share`` of another.

    Attributes:
        labels: of the other images, int64 [N, B].
        share: of the first image in each of a member's images [N].
    """

    labels: Tensor
    share: Tensor

    def mean(self, first: Tensor, other: Tensor) -> Tensor:
        """What both labels cost, weighed by their images' shares: [N], [N] -> [N]."""
        return self.share * first + (1 - self.share) * other


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of -log p(y), in nats: logits [*, B, K], labels [*, B] -> [*]."""
    return -pick(F.log_softmax(at_least_float32(logits), -1), labels).mean(-1)


def total_loss(
    losses: Mapping[str, Loss],
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor,
    h: Mapping[str, Tensor],
    *,
    epoch: float,
    index: Tensor | None = None,
    mixup: Mixup | None = None,
    combine: Callable[[Tensor, Tensor], Tensor] | None = None,
    states: Mapping[str, nn.Module] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """L = (1 - alpha) * CE + alpha * sum of weight * loss; CE alone without losses.

    Alpha 0 gives cross-entropy and its gradient to the last bit. Everything is computed in
    float32 at least, whatever autocast says around it.

    Args:
        losses: by name.
        student: its features keyed ``<loss>/<tap>``, each behind that loss's adapter.
        teacher: the same of the teacher, detached before the adapters.
        labels: int64 [N, B].
        h: ``alpha``, ``temperature``, ``<loss>.weight`` and ``<loss>.<option>``, each [N], after
            their schedules.
        epoch: epochs trained so far, with fraction.
        index: of the images in the training set, int64 [N, B].
        mixup: where the images are mixed. Losses that use labels are mixed as cross-entropy is.
        combine: one teacher's logits [N, B, K] from an ensemble's [N, B, E, K] and the loss's
            temperature [N], which is 1 where the loss uses none.
        states: of the losses that have one, by name; updated.

    Returns:
        The total [N], and detached: ``cross_entropy`` and each loss by its name, unweighted.
    """
    with torch.autocast(labels.device.type, enabled=False):
        ce = cross_entropy(student.logits, labels)
        if mixup is not None:
            ce = mixup.mean(ce, cross_entropy(student.logits, mixup.labels))
        terms = {"cross_entropy": ce.detach()}
        if not losses:
            return ce, terms
        weighted = []
        for name, loss in losses.items():
            own = {"temperature": h["temperature"], **_under(f"{name}.", h)}
            ours = _outputs(name, student)
            theirs = None if teacher is None else _outputs(name, teacher)
            if theirs is not None and combine is not None:
                t = own["temperature"]
                t = t if loss.spec.uses_temperature else torch.ones_like(t)
                theirs = replace(theirs, logits=combine(theirs.logits, t))
            state = None if states is None else states.get(name)
            value = loss(ours, theirs, labels, own, epoch=epoch, index=index, state=state)
            if mixup is not None:
                assert not loss.spec.uses_index
                if loss.spec.uses_labels:
                    other = loss(ours, theirs, mixup.labels, own, epoch=epoch)
                    value = mixup.mean(value, other)
            terms[name] = value.detach()
            weighted.append(own["weight"] * value)
        alpha = h["alpha"]
        return (1 - alpha) * ce + alpha * torch.stack(weighted).sum(0), terms


def _outputs(loss: str, outputs: Outputs) -> Outputs:
    """What one loss sees of a network."""
    return replace(outputs, features=_under(f"{loss}/", outputs.features))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
