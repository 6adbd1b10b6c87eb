"""CRD: contrast an image's two embeddings with thousands remembered from other images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.losses.base import Batch
from kdsweep.losses.options import Count, LossSpec, Number
from kdsweep.losses.projected import PROJECTED, ProjectedLoss

_START, _NEGATIVES = 1, 2  # what a stream of noise is for


def nce(scores: Tensor, log_normaliser: Tensor, images: int) -> Tensor:
    """Noise-contrastive loss of telling one positive from m negatives.

    Args:
        scores: cosines / tau [*, B, 1 + m], the positive's first.
        log_normaliser: log Z [*].
        images: n of the training set, over which the noise is uniform.

    Returns:
        [*], means over the batch: -log h(positive) - sum over negatives of log(1 - h), where
        h = p / (p + m / n) and p = exp(score) / Z.

    Source: Tian, Krishnan, Isola 2020, Contrastive Representation Distillation: what its code
    calls equation 18 (RepDistiller, crd/criterion.py).
    """
    noise = math.log((scores.shape[-1] - 1) / images)
    odds = scores - log_normaliser[..., None, None] - noise
    return (F.softplus(-odds[..., 0]) + F.softplus(odds[..., 1:]).sum(-1)).mean(-1)


class ContrastMemory(nn.Module):
    """Embeddings of every training image, one running mean for each network and member.

    Args:
        labels: of the training images, int64 [n].
        seeds: of the members [N]; the start and the negatives are drawn from them alone.
        dimensions: D of an embedding.
        negatives: m for each image.
        dtype: of the embeddings.
    """

    student: Tensor  # [N, n, D]
    teacher: Tensor  # [N, n, D]
    log_normaliser: Tensor  # [2, N], of the student's and the teacher's memory
    step: Tensor  # int64 [], batches seen
    seeds: Tensor
    by_class: Tensor  # int64 [n], the images sorted by label
    first: Tensor  # int64 [K], where a class starts in it
    count: Tensor  # int64 [K]

    def __init__(
        self,
        labels: Tensor,
        seeds: Tensor,
        *,
        dimensions: int,
        negatives: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.negatives = negatives
        n = len(labels)
        position = torch.arange(n * dimensions, device=labels.device).view(n, dimensions)
        for side, name in enumerate(("student", "teacher")):
            noise = streams.uniform(seeds[:, None, None], streams.NOISE, _START, side, position)
            start = (2 * noise - 1) * math.sqrt(3 / dimensions)  # of norm 1 on average
            self.register_buffer(name, start.to(dtype))
        self.register_buffer("log_normaliser", torch.zeros(2, len(seeds)).to(self.student))
        self.register_buffer("step", torch.zeros_like(labels[0]))
        self.register_buffer("seeds", seeds)
        self.register_buffer("by_class", labels.argsort(stable=True))
        count = labels.bincount()
        self.register_buffer("first", count.cumsum(0) - count)
        self.register_buffer("count", count)

    def draw(self, labels: Tensor) -> Tensor:
        """Images of other classes, with replacement: labels [N, B] -> indices [N, B, m].

        A pure function of (seed, step, position in the batch).
        """
        batch = torch.arange(labels.shape[1], device=labels.device)
        position = torch.arange(self.negatives, device=labels.device)
        seeds = self.seeds[:, None, None]
        random = streams.bits(
            seeds, streams.NOISE, _NEGATIVES, self.step, batch[:, None], position
        )
        own = self.count[labels].unsqueeze(-1)
        rank = random.bitwise_and(2**62 - 1) % (len(self.by_class) - own)
        rank = rank + own * (rank >= self.first[labels].unsqueeze(-1))  # past the own class
        return self.by_class[rank]

    def scores(self, name: str, anchors: Tensor, chosen: Tensor, tau: Tensor) -> Tensor:
        """Cosines / tau [N, B, 1 + m] of anchors [N, B, D] with one network's memory.

        A product with the whole memory costs less than gathering m rows for each image. The
        copy lets the memory change before the gradient is taken.
        """
        memory = self.get_buffer(name).to(anchors.dtype, copy=True)
        return (anchors @ memory.transpose(1, 2)).gather(-1, chosen) / tau[:, None, None]

    @torch.no_grad()
    def normaliser(self, scores: tuple[Tensor, Tensor]) -> Tensor:
        """Log Z [2, N], fixed by the first batch: the mean of exp(score), times n."""
        first = torch.stack([s.flatten(1).logsumexp(1) - math.log(s[0].numel()) for s in scores])
        first = first + math.log(len(self.by_class))
        self.log_normaliser.copy_(torch.where(self.step == 0, first, self.log_normaliser))
        return self.log_normaliser.clone()

    @torch.no_grad()
    def update(self, student: Tensor, teacher: Tensor, index: Tensor, momentum: Tensor) -> None:
        """Move the images' rows towards their embeddings [N, B, D], back onto the sphere."""
        rows = index.unsqueeze(-1).expand_as(student)
        m = momentum[:, None, None]
        for memory, fresh in ((self.student, student), (self.teacher, teacher)):
            mixed = m * memory.gather(1, rows) + (1 - m) * fresh
            memory.scatter_(1, rows, F.normalize(mixed, dim=-1).to(memory.dtype))
        self.step.add_(1)


class CRD(ProjectedLoss):
    """CRD in its memory-bank form; published with weight 0.8 beside CE 1.

    Negatives are images of other classes ("exact" sampling), drawn with replacement where the
    authors' code draws without.
    """

    spec = LossSpec(
        name="crd",
        weight=0.8,
        options={
            **PROJECTED,
            "tau": Number(0.07, positive=True),
            "momentum": Number(0.5, fraction=True),
            "negatives": Count(16384),
        },
        uses_index=True,
        why_not_fused="every member keeps two embeddings of every training image and compares "
        "each batch with all of them",
    )

    def create_state(
        self, labels: Tensor, seeds: Tensor, *, dtype: torch.dtype = torch.float32
    ) -> ContrastMemory:
        """Both memories: 2 * n * dimensions numbers for each member."""
        return ContrastMemory(
            labels,
            seeds,
            dimensions=self.count("dimensions"),
            negatives=self.count("negatives"),
            dtype=dtype,
        )

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N]."""
        index, state = batch.index, batch.state
        assert index is not None
        assert isinstance(state, ContrastMemory)
        ((ours, theirs),) = self.features(batch)
        ours, theirs = F.normalize(ours, dim=-1), F.normalize(theirs, dim=-1)
        chosen = torch.cat((index.unsqueeze(-1), state.draw(batch.labels)), -1)
        scores = (
            state.scores("student", theirs, chosen, h["tau"]),
            state.scores("teacher", ours, chosen, h["tau"]),
        )
        log_z = state.normaliser(scores)
        state.update(ours, theirs, index, h["momentum"])
        images = len(state.by_class)
        return nce(scores[0], log_z[0], images) + nce(scores[1], log_z[1], images)
