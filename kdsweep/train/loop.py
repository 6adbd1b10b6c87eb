"""The one training loop: N >= 1 students on shared images, views and teacher outputs.

Teachers, baselines, distilled students and their generations all go through ``train``; a solo
run is a population of one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep import streams
from kdsweep.config import ScheduleConfig, TrainConfig
from kdsweep.data import Views
from kdsweep.distill.base import Outputs, at_least_float32
from kdsweep.train.hardware import Hardware
from kdsweep.train.population import Chunk, Population, distinct, iterate_batches
from kdsweep.train.schedule import learning_rate_factor


class TeacherOutputs(Protocol):
    """What the teacher says of training images, once for all members that see them."""

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Hear which (image, view) pairs, [S, n] each, the next epoch will ask for."""
        ...

    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        """Outputs with leading axes [S, B] for images [S, B, C, H, W] under these views."""
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
        index: Tensor,
    ) -> Tensor:
        """The loss [n], a mean over the batch, of outputs [n, B, ...]."""
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
class Judged:
    """The images that a population is judged on after each epoch, on the device."""

    name: str  # validation or test
    images: Tensor  # uint8 [n, C, H, W]
    labels: Tensor  # int64 [n]
    normalise: Normalise

    @property
    def prefix(self) -> str:
        """In front of metric names: val_accuracy, test_accuracy."""
        return "val" if self.name == "validation" else self.name


class Normalise(Protocol):
    """Turns uint8 images into the floats that a network reads."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] to floats of the same shape."""
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
    logits: Tensor | None = None  # [n, K] on the judged images, after the last epoch
    seconds: float = 0.0  # this member's share of the time


def train(
    population: Population,
    *,
    views: Views,
    labels: Tensor,
    judged: Judged,
    criterion: Criterion,
    teacher: TeacherOutputs | None,
    config: TrainConfig,
    schedule: ScheduleConfig,
    hardware: Hardware,
    observer: Observer,
    eval_batch: int = 1000,
) -> dict[str, Trained]:
    """Train every member to the last epoch, unless it diverges or the observer drops it.

    Args:
        population: the members, trained in place.
        views: the training images and their augmentation.
        labels: of the training images, int64 [n], on the device.
        judged: images for the metrics after each epoch.
        criterion: the loss of each member.
        teacher: its outputs, or None where the criterion needs none.
        config: epochs, batch size, clipping.
        schedule: of the learning rate.
        hardware: how to execute.
        observer: hears of steps and epochs.
        eval_batch: images in a batch of evaluation.

    Returns:
        One ``Trained`` for each member, by name.
    """
    results: dict[str, Trained] = {}
    history: dict[str, list[dict[str, float]]] = {m.name: [] for m in population.members}
    seconds = dict.fromkeys(history, 0.0)
    image = tuple(judged.images.shape[1:])
    chunks = population.chunks(hardware.chunk_size(len(population)), image)
    batches = list(iterate_batches(len(labels), config.batch_size))
    total = config.epochs * len(batches)
    logits = None
    for epoch in range(config.epochs):
        if not len(population):
            break
        started = time.perf_counter()
        losses = _train_epoch(
            population, chunks, batches, views, labels, criterion, teacher,
            config, schedule, hardware, observer, epoch, total,
        )  # fmt: skip
        logits = predict(chunks, judged, hardware, eval_batch)
        records = _records(population, losses, logits, judged)
        share = (time.perf_counter() - started) / len(population)
        for member in population.members:
            history[member.name].append(records[member.name])
            seconds[member.name] += share
        leaving = {
            name: ("diverged", f"the loss is {record['train_loss']} in epoch {epoch + 1}")
            for name, record in records.items()
            if not all(map(_finite, (record["train_loss"], record[f"{judged.prefix}_nll"])))
        }
        for name, reason in observer.epoch(epoch, records).items():
            leaving.setdefault(name, ("dropped", reason))
        if leaving:
            for member in population.members:
                if member.name in leaving:
                    status, reason = leaving[member.name]
                    results[member.name] = Trained(
                        name=member.name, seed=member.seed, status=status, reason=reason,
                        history=history[member.name], seconds=seconds[member.name],
                    )  # fmt: skip
            alive = [i for i, m in enumerate(population.members) if m.name not in leaving]
            population.keep(alive)
            logits = logits[alive]
            chunks = population.chunks(hardware.chunk_size(len(population)), image)
    for i, member in enumerate(population.members):
        assert logits is not None
        results[member.name] = Trained(
            name=member.name, seed=member.seed, status="finished", history=history[member.name],
            state=population.state_dict(i), logits=logits[i].cpu(), seconds=seconds[member.name],
        )  # fmt: skip
    return results


def _train_epoch(
    population: Population,
    chunks: list[Chunk],
    batches: list[slice],
    views: Views,
    labels: Tensor,
    criterion: Criterion,
    teacher: TeacherOutputs | None,
    config: TrainConfig,
    schedule: ScheduleConfig,
    hardware: Hardware,
    observer: Observer,
    epoch: int,
    total: int,
) -> Tensor:
    """One epoch of every member; returns the mean training loss of each [N]."""
    seeds, seed_of = distinct(population.seeds)
    places = [_places(seed_of[chunk.part]) for chunk in chunks]
    order = streams.permutation(len(labels), seeds, epoch)
    view = views.sample(seeds, epoch, order)
    if teacher is not None:
        teacher.prepare(order, view)
    sums = torch.zeros(len(population), device=population.device, dtype=torch.float64)
    for number, batch in enumerate(batches):
        step = epoch * len(batches) + number
        index = order[:, batch]
        images = views.render(index, view[:, batch])
        said = None if teacher is None else teacher.outputs(index, view[:, batch], images)
        truth = labels[index]
        fraction = epoch + number / len(batches)
        rate = learning_rate_factor(schedule, fraction, config.epochs)
        for chunk, place in zip(chunks, places, strict=True):
            heard = None if said is None else _select(said, place)
            with hardware.autocast():
                student, heard = chunk.forward(_at(images, place), heard, step=step, train=True)
            loss = criterion(
                chunk,
                student,
                heard,
                _at(truth, place).expand(chunk.size, -1),
                epoch=fraction,
                index=_at(index, place).expand(chunk.size, -1),
            )
            chunk.update(loss, step=step, rate_factor=rate, clip_norm=config.clip_norm)
            sums[chunk.part] += loss.detach() * index.shape[1]
        observer.step(step + 1, total)
    mean: Tensor = sums / sum(b.stop - b.start for b in batches)
    return mean


@torch.no_grad()
def predict(chunks: list[Chunk], judged: Judged, hardware: Hardware, batch_size: int) -> Tensor:
    """Logits [N, n, K] of every member on unaugmented images, in evaluation mode."""
    parts = []
    for images in _plain_batches(judged, hardware, batch_size):
        with hardware.autocast():
            outputs = [
                chunk.forward(images.unsqueeze(0), step=0, train=False)[0] for chunk in chunks
            ]
        parts.append(torch.cat([said.logits for said in outputs]))
    return torch.cat(parts, dim=1)


@torch.no_grad()
def predict_alone(model: nn.Module, judged: Judged, hardware: Hardware, batch_size: int) -> Tensor:
    """Logits [n, K] of one network on unaugmented images, in evaluation mode, on the CPU."""
    model.eval()
    parts = []
    for images in _plain_batches(judged, hardware, batch_size):
        with hardware.autocast():
            logits = model(images)
        parts.append(at_least_float32(logits))
    return torch.cat(parts).cpu()


def _plain_batches(judged: Judged, hardware: Hardware, batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(judged.labels), batch_size):
        yield hardware.layout(judged.normalise(judged.images[start : start + batch_size]))


def _records(
    population: Population, losses: Tensor, logits: Tensor, judged: Judged
) -> dict[str, dict[str, float]]:
    accuracy = (logits.argmax(-1) == judged.labels).float().mean(1) * 100
    nll = torch.stack([F.cross_entropy(member, judged.labels) for member in logits])
    table = torch.stack([losses, accuracy.double(), nll.double()]).cpu().tolist()
    names = ("train_loss", f"{judged.prefix}_accuracy", f"{judged.prefix}_nll")
    return {
        member.name: {name: row[i] for name, row in zip(names, table, strict=True)}
        for i, member in enumerate(population.members)
    }


def _finite(value: float) -> bool:
    return value - value == 0.0


def _places(seed_of: Tensor) -> Tensor | int:
    """Where a chunk's members find their seed's batch: one place where they all share it."""
    places = seed_of.tolist()
    return places[0] if len(set(places)) == 1 else seed_of


def _at(shared: Tensor, place: Tensor | int) -> Tensor:
    return shared[place : place + 1] if isinstance(place, int) else shared[place]


def _select(outputs: Outputs, place: Tensor | int) -> Outputs:
    return Outputs(
        logits=_at(outputs.logits, place),
        features={name: _at(value, place) for name, value in outputs.features.items()},
    )
