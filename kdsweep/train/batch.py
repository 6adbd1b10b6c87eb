"""What one optimiser step reads: images in rows, and which row each member reads."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdsweep import streams
from kdsweep.data import Views
from kdsweep.data.erase import erase
from kdsweep.data.mixup import mixup
from kdsweep.losses.base import Outputs
from kdsweep.losses.total import Mixup
from kdsweep.train.chunk import Chunk
from kdsweep.train.interfaces import TeacherOutputs
from kdsweep.train.population import Member

Row = Tensor | int  # of a chunk's members: one for each, int64 [n], or one that all of them read


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The images of one step, in S rows: members that see the same images share a row.

    Attributes:
        images: [S, B, C, H, W].
        labels: int64 [S, B].
        teacher_outputs: with leading axes [S, B]; None where the criterion needs none.
        index: of the images in the training set, int64 [S, B]; None where they are generated.
        mixup: labels [S, B] and shares [S] of what the images are mixed with.
        rows: what the members of each chunk read.
    """

    images: Tensor
    labels: Tensor
    teacher_outputs: Outputs | None = None
    index: Tensor | None = None
    mixup: Mixup | None = None
    rows: Sequence[Row] = ()

    @property
    def size(self) -> int:
        """B."""
        return self.images.shape[1]

    def select(self, row: Row, members: int) -> Batch:
        """What n members read: images and teacher outputs [n or 1, B, ...], all else [n, ...]."""

        def each(shared: Tensor) -> Tensor:
            return _select(shared, row).expand(members, *shared.shape[1:])

        teacher, mixed = self.teacher_outputs, self.mixup
        if teacher is not None:
            features = {name: _select(value, row) for name, value in teacher.features.items()}
            teacher = Outputs(logits=_select(teacher.logits, row), features=features)
        if mixed is not None:
            mixed = Mixup(labels=each(mixed.labels), share=each(mixed.share))
        return Batch(
            images=_select(self.images, row),
            labels=each(self.labels),
            teacher_outputs=teacher,
            index=None if self.index is None else each(self.index),
            mixup=mixed,
        )


def _select(shared: Tensor, row: Row) -> Tensor:
    """Rows [n or 1, ...] of [S, ...]."""
    return shared[row : row + 1] if isinstance(row, int) else shared[row]


def share_rows(
    chunks: Sequence[Chunk], key: Callable[[Member], Hashable]
) -> tuple[list[Member], list[Row]]:
    """Rows for members of which those with the same key see the same images.

    Returns:
        The first member of each of the S rows, and what the members of each chunk read.
    """
    first: dict[Hashable, Member] = {}
    numbers: dict[Hashable, int] = {}
    rows: list[Row] = []
    for chunk in chunks:
        for member in chunk.members:
            first.setdefault(key(member), member)
            numbers.setdefault(key(member), len(numbers))
        own = [numbers[key(member)] for member in chunk.members]
        shared = len(set(own)) == 1
        rows.append(own[0] if shared else torch.tensor(own, device=chunk.seeds.device))
    return list(first.values()), rows


def iterate_batches(n: int, batch_size: int) -> Iterator[slice]:
    """Slices over n images; a last batch of one image is left out (batch norm needs two)."""
    for start in range(0, n, batch_size):
        stop = min(start + batch_size, n)
        if stop - start > 1 or n == 1:
            yield slice(start, stop)


class StoredImages:
    """The training images under random views, in each seed's own order: a ``BatchSource``.

    Args:
        views: the images and their augmentation.
        labels: int64 [n], on the device.
        teacher: its outputs, or None where the criterion needs none.
        batch_size: B.
    """

    def __init__(
        self, views: Views, labels: Tensor, teacher: TeacherOutputs | None, *, batch_size: int
    ) -> None:
        self.views = views
        self.labels = labels
        self.teacher = teacher
        self.parts = list(iterate_batches(len(labels), batch_size))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.parts)

    def batches(self, chunks: Sequence[Chunk], epoch: int) -> Iterator[Batch]:
        """The batches of an epoch; the teacher hears beforehand of all (image, view) pairs."""
        members, rows = share_rows(chunks, lambda member: member.seed)
        seeds = torch.tensor([member.seed for member in members], device=self.labels.device)
        order = streams.permutation(len(self.labels), seeds, epoch)
        view = self.views.sample(seeds, epoch, order)
        if self.teacher is not None:
            self.teacher.prepare(order, view)
        for number, part in enumerate(self.parts):
            yield self._batch(seeds, order[:, part], view[:, part], epoch, number, rows)

    def _batch(
        self,
        seeds: Tensor,
        index: Tensor,
        view: Tensor,
        epoch: int,
        number: int,
        rows: Sequence[Row],
    ) -> Batch:
        images, labels, mixed = self.views.render(index, view), self.labels[index], None
        if self.views.erase > 0:
            images = erase(images, seeds, epoch, index, probability=self.views.erase)
        if self.views.mixup > 0:
            images, partner, share = mixup(images, seeds, epoch, number, alpha=self.views.mixup)
            mixed = Mixup(labels=labels.gather(1, partner), share=share)
        teacher = self.teacher
        return Batch(
            images=images,
            labels=labels,
            teacher_outputs=None if teacher is None else teacher.outputs(index, view, images),
            index=index,
            mixup=mixed,
            rows=rows,
        )

    def after_step(self, chunks: Sequence[Chunk], batch_size: int, step: int) -> None:
        """Stored images don't learn."""

    def snapshot(self) -> object:
        """Nothing changes."""
        return None

    def restore(self, saved: object) -> None:
        """Nothing has changed."""

    def state(self, labels: Mapping[str, str]) -> dict[str, Tensor]:
        """Nothing changes."""
        return {}

    def load(self, state: Mapping[str, Tensor], labels: Mapping[str, str]) -> None:
        """Nothing has changed."""
