"""The one training loop: N >= 1 students on shared images, views and teacher outputs.

Teachers, baselines, distilled students and their generations all go through ``train``; a solo
run is a population of one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdsweep import streams
from kdsweep.config import ScheduleConfig, TrainConfig
from kdsweep.data import Views
from kdsweep.data.device import EvaluationImages
from kdsweep.errors import TrainingError
from kdsweep.hardware.choose import Hardware
from kdsweep.train import batch as batches
from kdsweep.train.evaluation import has_diverged, metrics_by_member, predict
from kdsweep.train.interfaces import Criterion, Maker, Observer, TeacherOutputs, Trained
from kdsweep.train.memory import population_that_fits
from kdsweep.train.population import Member, Population, distinct, iterate_batches
from kdsweep.train.schedule import learning_rate_factor

log = logging.getLogger(__name__)


def train(
    population: Population,
    *,
    views: Views | Maker,
    labels: Tensor,
    evaluation: EvaluationImages,
    criterion: Criterion,
    teacher: TeacherOutputs | None,
    config: TrainConfig,
    schedule: ScheduleConfig,
    hardware: Hardware,
    observer: Observer,
    eval_batch: int = 1000,
    together: int | None = None,
    stop_epoch: int | None = None,
) -> dict[str, Trained]:
    """Train every member to the last epoch, unless it diverges or the observer drops it.

    Args:
        population: the members, trained in place.
        views: the training images and their augmentation, or what makes them.
        labels: of the training images, int64 [n], on the device; images that are made have the
            teacher's argmax instead.
        evaluation: images for the metrics after each epoch.
        criterion: the loss of each member.
        teacher: its outputs, or None where the criterion needs none.
        config: epochs, batch size, clipping.
        schedule: of the learning rate.
        hardware: how to execute.
        observer: hears of steps and epochs.
        eval_batch: images in a batch of evaluation.
        together: how many members may run as one network at most; None: as the hardware says.
        stop_epoch: leave then, on the schedule of all epochs; None: after the last.

    Returns:
        One ``Trained`` for each member, by name.

    Raises:
        TrainingError: not even one member at a time fits into the device's memory.
    """
    setting = _Setting(
        views=views, labels=labels, evaluation=evaluation, criterion=criterion, teacher=teacher,
        config=config, schedule=schedule, hardware=hardware, observer=observer,
        eval_batch=eval_batch, epochs=config.epochs if stop_epoch is None else stop_epoch,
    )  # fmt: skip
    size = hardware.chunk_size(len(population))
    return _Training(population, setting, size if together is None else min(size, together)).run()


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What all members of a training share."""

    views: Views | Maker
    labels: Tensor
    evaluation: EvaluationImages
    criterion: Criterion
    teacher: TeacherOutputs | None
    config: TrainConfig
    schedule: ScheduleConfig
    hardware: Hardware
    observer: Observer
    eval_batch: int
    epochs: int  # to be trained; the schedule's are the config's

    @property
    def maker(self) -> Maker | None:
        """What makes the images, where no stored ones are shown."""
        return None if isinstance(self.views, Views) else self.views


class _Training:
    """A training under way: the population, how it is cut into chunks, and what it gave so far."""

    def __init__(self, population: Population, setting: _Setting, size: int) -> None:
        self.population = population
        self.setting = setting
        self.size = size  # members that run as one network
        self.eval_batch = setting.eval_batch
        self.image = tuple(setting.evaluation.images.shape[1:])
        if population.device.type == "cuda" and size > 1 and len(population) > 1:
            shape = (1, setting.config.batch_size, *self.image)
            images = torch.zeros(shape, device=population.device, dtype=setting.hardware.dtype)
            self.size = min(size, population_that_fits(population, images, setting.hardware))
        self.chunks = population.chunks(self.size, self.image)
        self.images = len(setting.labels) if setting.maker is None else setting.maker.count
        self.batches = list(iterate_batches(self.images, setting.config.batch_size))
        self.history: dict[str, list[dict[str, float]]] = {m.name: [] for m in population.members}
        self.seconds = dict.fromkeys(self.history, 0.0)
        self.results: dict[str, Trained] = {}

    def run(self) -> dict[str, Trained]:
        """All epochs."""
        logits = None
        for epoch in range(self.setting.epochs):
            if not len(self.population):
                break
            logits = self._whole_epoch(epoch)
        for i, member in enumerate(self.population.members):
            assert logits is not None
            self.results[member.name] = self._result(
                member,
                "finished",
                state=self.population.state_dict(i),
                logits=logits[i].cpu().clone(),
            )
        return self.results

    def _whole_epoch(self, epoch: int) -> Tensor:
        """Train, judge, and let go of members; the logits of those that stay."""
        started = time.perf_counter()
        losses = self._train_within_memory(epoch)
        evaluation = self.setting.evaluation
        logits = self._predict_within_memory()
        records = metrics_by_member(self.population, losses, logits, evaluation)
        share = (time.perf_counter() - started) / len(self.population)
        for member in self.population.members:
            self.history[member.name].append(records[member.name])
            self.seconds[member.name] += share
        leaving = {
            name: ("diverged", f"the loss is {record['train_loss']} in epoch {epoch + 1}")
            for name, record in records.items()
            if has_diverged(record)
        }
        for name, reason in self.setting.observer.epoch(epoch, records).items():
            leaving.setdefault(name, ("dropped", reason))
        return self._let_go(leaving, logits) if leaving else logits

    def _let_go(self, leaving: Mapping[str, tuple[str, str]], logits: Tensor) -> Tensor:
        members = self.population.members
        for member in members:
            if member.name in leaving:
                status, reason = leaving[member.name]
                self.results[member.name] = self._result(member, status, reason=reason)
        alive = [i for i, member in enumerate(members) if member.name not in leaving]
        self.population.keep(alive)
        self.setting.criterion.forget(leaving)
        self.chunks = self.population.chunks(self.size, self.image)
        return logits[alive]

    def _result(
        self,
        member: Member,
        status: str,
        *,
        reason: str | None = None,
        state: dict[str, Tensor] | None = None,
        logits: Tensor | None = None,
    ) -> Trained:
        return Trained(
            name=member.name,
            seed=member.seed,
            status=status,
            reason=reason,
            history=self.history[member.name],
            state=state or {},
            logits=logits,
            seconds=self.seconds[member.name],
        )

    def _train_within_memory(self, epoch: int) -> Tensor:
        """One epoch; where memory runs out, the same epoch again in smaller chunks."""
        maker = self.setting.maker
        while True:
            before = made = None
            try:
                if self.size > 1:
                    made = None if maker is None else maker.snapshot()
                    before = self.population.snapshot()
                return self._train_epoch(epoch)
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise TrainingError(
                        "the device's memory does not hold one student; lower train.batch_size"
                    ) from error
                if before is not None:
                    self.population.restore(before)
                    if maker is not None:
                        maker.restore(made)
                self.size = (min(self.size, len(self.population)) + 1) // 2
                self.chunks = self.population.chunks(self.size, self.image)
                log.info("out of memory: %d students at a time from here on", self.size)

    def _predict_within_memory(self) -> Tensor:
        """Logits [N, n, K] on the evaluation images; where memory runs out, in smaller batches."""
        while True:
            try:
                return predict(
                    self.chunks, self.setting.evaluation, self.setting.hardware, self.eval_batch
                )
            except torch.OutOfMemoryError as error:
                if self.eval_batch == 1:
                    raise TrainingError(
                        "the device's memory does not hold one image of every student; lower "
                        "hydra.sweeper.n_jobs, or the sizes of the networks"
                    ) from error
                self.eval_batch = (self.eval_batch + 1) // 2
                log.info("out of memory: judged %d images at a time from here on", self.eval_batch)

    def _train_epoch(self, epoch: int) -> Tensor:
        """One epoch of every member; returns the mean training loss of each [N]."""
        setting, population = self.setting, self.population
        seeds, seed_of = distinct(population.seeds)
        if setting.maker is not None and setting.maker.private:
            seeds = population.seeds
            seed_of = torch.arange(len(population), device=population.device)
        places = [batches.places(seed_of[chunk.part]) for chunk in self.chunks]
        order = streams.permutation(self.images, seeds, epoch)
        view = order
        if isinstance(setting.views, Views):
            view = setting.views.sample(seeds, epoch, order)
        if setting.teacher is not None:
            setting.teacher.prepare(order, view)
        sums = torch.zeros(len(population), device=population.device, dtype=torch.float64)
        steps = len(self.batches)
        for number, batch in enumerate(self.batches):
            loss = self._step(seeds, order[:, batch], view[:, batch], places, epoch, number)
            sums += loss * (batch.stop - batch.start)
            setting.observer.step(epoch * steps + number + 1, setting.epochs * steps)
        mean: Tensor = sums / sum(batch.stop - batch.start for batch in self.batches)
        return mean

    def _step(
        self,
        seeds: Tensor,
        index: Tensor,
        view: Tensor,
        places: list[Tensor | int],
        epoch: int,
        number: int,
    ) -> Tensor:
        """One optimiser step of every member on images [S, B]; each one's loss [N]."""
        setting = self.setting
        step = epoch * len(self.batches) + number
        fraction = epoch + number / len(self.batches)
        rate = learning_rate_factor(setting.schedule, fraction, setting.config.epochs)
        blend = None
        if isinstance(setting.views, Views):
            images, blend = batches.beyond_views(setting.views, seeds, index, view, epoch, number)
        else:
            images = setting.views.make(self._rows(), index.shape[1], step)
        said = None if setting.teacher is None else setting.teacher.outputs(index, view, images)
        if setting.maker is None:
            labels = setting.labels[index]
        else:
            assert said is not None
            labels = said.logits.argmax(-1)
        losses = []
        for chunk, place in zip(self.chunks, places, strict=True):
            heard = None if said is None else batches.select(said, place)
            with setting.hardware.autocast():
                student, heard = chunk.forward(
                    batches.at(images, place), heard, step=step, train=True
                )
            loss = setting.criterion(
                chunk,
                student,
                heard,
                batches.at(labels, place).expand(chunk.size, -1),
                epoch=fraction,
                index=batches.at(index, place).expand(chunk.size, -1),
                mixup=None if blend is None else blend.of(labels, place, chunk.size),
            )
            chunk.update(loss, step=step, rate_factor=rate, clip_norm=setting.config.clip_norm)
            losses.append(loss.detach())
            if setting.maker is not None:
                setting.maker.learn(chunk, index.shape[1], step)
        return torch.cat(losses)

    def _rows(self) -> list[Member]:
        """Whom the rows of a batch are made for: every member, or the first of each seed."""
        members = self.population.members
        assert self.setting.maker is not None
        if self.setting.maker.private:
            return members
        first: dict[int, Member] = {}
        for member in members:
            first.setdefault(member.seed, member)
        return list(first.values())
