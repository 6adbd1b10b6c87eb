"""What a classifier's logits say about it, for N members at once.

Every function takes logits [N, n, K] of any floating type, computes in float32 (float64 where
the logits are), accumulates over images in float64 and returns float64 on the logits' device.
Nothing is read back to the host. Members are taken a few at a time, so that N = 125, n = 5000,
K = 100 needs no second copy of all logits. An image with a NaN among its logits is classified
wrongly; the averages of real numbers (NLL, ECE, KL) become NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ECE_BINS = 15
_CHUNK = 2**24  # logits looked at together; 64 MiB in float32


def _by_members(measure: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Apply ``measure``, [M, n, K] to [M, ...], to a few members at a time, in float32 up."""
    members = max(1, _CHUNK // logits[0].numel())
    chunks = torch.split(logits, members)
    return torch.cat([measure(c if c.dtype == torch.float64 else c.float()) for c in chunks])


def _rank(logits: Tensor, labels: Tensor) -> Tensor:
    """Int64 [M, n]: how many classes come before the label; of equal logits the first is first."""
    own = logits.gather(2, labels.expand(len(logits), -1)[..., None])
    earlier = torch.arange(logits.shape[2], device=logits.device) < labels[:, None]
    before = ~(logits <= own) | ((logits == own) & earlier)  # not <=: a NaN comes before all
    return before.sum(2)


def _percent(hit: Tensor) -> Tensor:
    return 100.0 * hit.sum(1).double() / hit.shape[1]  # rounded once: 727 of 1000 is 72.7


def _nll(logits: Tensor, labels: Tensor) -> Tensor:
    own = logits.gather(2, labels.expand(len(logits), -1)[..., None])[..., 0]
    return (logits.logsumexp(2).double() - own.double()).mean(1)


def _bins(confidence: Tensor) -> Tensor:
    """Which of ``ECE_BINS`` bins of equal width, closed on the right, each number is in."""
    inner = torch.arange(1, ECE_BINS, device=confidence.device, dtype=confidence.dtype) / ECE_BINS
    return torch.bucketize(confidence.contiguous(), inner)


def _ece(logits: Tensor, labels: Tensor) -> Tensor:
    confidence = logits.softmax(2).amax(2)
    gap = (_rank(logits, labels) == 0).double() - confidence.double()
    bins = _bins(confidence)
    # A sum for each bin, not scatter_add: the same bits on every call on a GPU.
    gaps = [torch.where(bins == b, gap, 0.0).sum(1).abs() for b in range(ECE_BINS)]
    return torch.stack(gaps).sum(0) / labels.numel()


@torch.no_grad()
def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Bool [N, n]: whether the largest logit, the first of equals, is the label's."""
    return _by_members(lambda chunk: _rank(chunk, labels) == 0, logits)


@torch.no_grad()
def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Each metric's value for every member, [N].

    ``accuracy`` and, with more than 5 classes, ``top5_accuracy`` in percent; ``nll``, the mean
    negative log-likelihood of the labels, in nats; ``ece``, the expected calibration error as a
    fraction, over 15 bins of equal width, closed on the right (Guo et al. 2017, eq. 3).

    Args:
        logits: [N, n, K].
        labels: int64 [n].
    """
    rank = _by_members(lambda chunk: _rank(chunk, labels), logits)
    metrics = {"accuracy": _percent(rank == 0)}
    if logits.shape[2] > 5:
        metrics["top5_accuracy"] = _percent(rank < 5)
    metrics["nll"] = _by_members(lambda chunk: _nll(chunk, labels), logits)
    metrics["ece"] = _by_members(lambda chunk: _ece(chunk, labels), logits)
    return metrics


@torch.no_grad()
def reliability(logits: Tensor, labels: Tensor) -> list[tuple[int, int, float, float]]:
    """How often one network is right where it is so confident, by the bins of ``ece``.

    Args:
        logits: [n, K].
        labels: int64 [n].

    Returns:
        Of each bin with images in it: its number from 0, how many there are, their mean
        confidence and how many of them are right, both in percent (DeGroot & Fienberg 1983).
    """
    confidence = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1).amax(1)
    bins, right = _bins(confidence), correct(logits[None], labels)[0]
    found = []
    for b in sorted(set(bins.tolist())):
        inside = bins == b
        images = int(inside.sum())
        mean = 100 * float(confidence[inside].double().mean())
        found.append((b, images, mean, 100 * int(right[inside].sum()) / images))
    return found


@torch.no_grad()
def per_class_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Percent [N, K] of each class's images that are classified rightly; NaN without any image.

    Args:
        logits: [N, n, K].
        labels: int64 [n].
    """
    classes = torch.arange(logits.shape[2], device=labels.device)
    belongs = (labels[:, None] == classes).double()
    return 100.0 * (correct(logits, labels).double() @ belongs) / belongs.sum(0)


@torch.no_grad()
def agreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Percent [N] of the images on which student and teacher name the same class.

    Args:
        student: logits [N, n, K].
        teacher: logits [n, K].
    """
    return _percent(correct(student, teacher.argmax(1)))


@torch.no_grad()
def fidelity_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL(teacher || student) over images at T = 1, in nats, [N] (Stanton et al. 2021).

    Args:
        student: logits [N, n, K].
        teacher: logits [n, K].
    """
    wide = torch.promote_types(student.dtype, torch.float32)
    target = teacher.to(torch.promote_types(teacher.dtype, wide)).log_softmax(1)

    def divergence(chunk: Tensor) -> Tensor:
        terms = target.exp() * (target - chunk.log_softmax(2))
        return terms.sum(2).double().mean(1)

    return _by_members(divergence, student)
