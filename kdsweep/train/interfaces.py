"""What the training loop asks of its surroundings, and what it gives back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from kdsweep.losses.base import Outputs
from kdsweep.losses.total import Mixup
from kdsweep.train.chunk import Chunk

if TYPE_CHECKING:
    from kdsweep.train.batch import Batch


class TeacherOutputs(Protocol):
    """What the teacher says of training images, once for all members that see them."""

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Hear which (image, view) pairs, [S, n] each, the next epoch will ask for."""
        ...

    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        """Outputs with leading axes [S, B] for images [S, B, C, H, W] under these views."""
        ...


class BatchSource(Protocol):
    """Makes the batches that members train on; what makes images may learn beside them."""

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        ...

    def batches(self, chunks: Sequence[Chunk], epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, one after the other, with a row for each chunk's members."""
        ...

    def after_step(self, chunks: Sequence[Chunk], batch_size: int, step: int) -> None:
        """Hear that the members of all chunks have taken this step (from 0)."""
        ...

    def snapshot(self) -> object:
        """A copy of everything that training changes."""
        ...

    def restore(self, saved: object) -> None:
        """Go back to a snapshot, which is then used up."""
        ...

    def state(self, labels: Mapping[str, str]) -> dict[str, Tensor]:
        """Everything that training changes, for members with these labels, by name."""
        ...

    def load(self, state: Mapping[str, Tensor], labels: Mapping[str, str]) -> None:
        """Put back what ``state`` gave of the members with these labels."""
        ...


class Criterion(Protocol):
    """Maps outputs to the loss of each member [n] of a chunk."""

    def __call__(
        self,
        chunk: Chunk,
        student: Outputs,
        teacher: Outputs | None,
        labels: Tensor,
        *,
        epoch: float,
        index: Tensor | None,
        mixup: Mixup | None,
    ) -> Tensor:
        """The loss [n], a mean over the batch, of outputs [n, B, ...]."""
        ...

    def forget(self, names: Collection[str]) -> None:
        """Members that train no more."""
        ...

    def state(self, labels: Mapping[str, str]) -> dict[str, Tensor] | None:
        """What the losses remember of members with these labels, by name.

        None where one remembers several members in common, which can't be told apart.
        """
        ...

    def load(
        self, state: Mapping[str, Tensor], labels: Mapping[str, str], chunks: Sequence[Chunk]
    ) -> None:
        """Put back what ``state`` gave of the members of these chunks."""
        ...


class Observer(Protocol):
    """Hears how training goes, and may send members home."""

    def step(self, done: int, total: int) -> None:
        """Called between optimiser steps, often; counts over the whole training."""
        ...

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        """Metrics of each member by name; returns members to drop with the reason."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What became of one member."""

    name: str
    seed: int
    status: str  # finished, diverged or dropped
    reason: str | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)  # parameters and buffers
    logits: Tensor | None = None  # [n, K] on the evaluation images, after the last epoch
    beside: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # what learned with it
    counts: dict[str, float] = field(default_factory=dict)  # parameters of those, as metrics
    seconds: float = 0.0  # this member's share of the time
