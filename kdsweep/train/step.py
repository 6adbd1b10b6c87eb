"""One optimiser step of every member, and what all of a training's steps share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdsweep.config import ScheduleConfig, TrainConfig
from kdsweep.data.device import EvaluationImages
from kdsweep.hardware.choose import Hardware
from kdsweep.train.batch import Batch
from kdsweep.train.checkpoint import Checkpoints
from kdsweep.train.chunk import Chunk
from kdsweep.train.interfaces import BatchSource, Criterion, Observer
from kdsweep.train.schedule import learning_rate_factor


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """What the members of a population share.

    Attributes:
        source: of the training images, their labels and the teacher's outputs.
        criterion: the loss of each member.
        evaluation: images for the metrics after each epoch.
        config: epochs, clipping.
        schedule: of the learning rate.
        hardware: how to execute.
        observer: hears of steps and epochs.
        eval_batch: images in a batch of evaluation.
        together: how many members may run as one network at most; None: as the hardware says.
        stop_epoch: leave then, on the schedule of all epochs; None: after the last.
        checkpoints: of this population; None: there are none.
    """

    source: BatchSource
    criterion: Criterion
    evaluation: EvaluationImages
    config: TrainConfig
    schedule: ScheduleConfig
    hardware: Hardware
    observer: Observer
    eval_batch: int = 1000
    together: int | None = None
    stop_epoch: int | None = None
    checkpoints: Checkpoints | None = None

    @property
    def epochs(self) -> int:
        """To be trained."""
        return self.config.epochs if self.stop_epoch is None else self.stop_epoch


def train_step(setup: TrainingSetup, chunks: Sequence[Chunk], batch: Batch, step: int) -> Tensor:
    """Step ``step`` (from 0) of every member on one batch; the loss of each one [N]."""
    epoch, number = divmod(step, setup.source.steps)
    time = epoch + number / setup.source.steps
    rate_factor = learning_rate_factor(setup.schedule, time, setup.config.epochs)
    losses = []
    for chunk, row in zip(chunks, batch.rows, strict=True):
        own = batch.select(row, chunk.size)
        with setup.hardware.autocast():
            student, teacher = chunk.forward(
                own.images, own.teacher_outputs, step=step, train=True
            )
        loss = setup.criterion(
            chunk, student, teacher, own.labels, epoch=time, index=own.index, mixup=own.mixup
        )
        chunk.update(loss, step=step, rate_factor=rate_factor, clip_norm=setup.config.clip_norm)
        losses.append(loss.detach())
    setup.source.after_step(chunks, batch.size, step)
    return torch.cat(losses)
