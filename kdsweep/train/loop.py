"""The one training loop: N >= 1 students on shared images, views and teacher outputs.

Teachers, baselines, distilled students and their generations all go through ``train``; a solo
run is a population of one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from kdsweep.errors import TrainingError
from kdsweep.train.checkpoint import Checkpoint, Standing
from kdsweep.train.evaluation import has_diverged, metrics_by_member, predict
from kdsweep.train.interfaces import Trained
from kdsweep.train.memory import population_that_fits
from kdsweep.train.population import Member, Population
from kdsweep.train.step import TrainingSetup, train_step

log = logging.getLogger(__name__)


def train(population: Population, setup: TrainingSetup) -> dict[str, Trained]:
    """Train every member to the last epoch, unless it diverges or the observer drops it.

    Args:
        population: the members, trained in place.
        setup: what they share.

    Returns:
        One ``Trained`` for each member, by name.

    Raises:
        TrainingError: not even one member at a time fits into the device's memory.
    """
    return _Training(population, setup).run()


class _Training:
    """A training under way: the population, how it is cut into chunks, and what it gave so far."""

    def __init__(self, population: Population, setup: TrainingSetup) -> None:
        self.population = population
        self.setup = setup
        self.eval_batch = setup.eval_batch
        self.image = tuple(setup.evaluation.images.shape[1:])
        size = setup.hardware.chunk_size(len(population))
        self.size = size if setup.together is None else min(size, setup.together)
        self.members = list(population.members)
        self.history: dict[str, list[dict[str, float]]] = {m.name: [] for m in self.members}
        self.seconds = dict.fromkeys(self.history, 0.0)
        self.results: dict[str, Trained] = {}
        self.start = 0  # epochs that are done
        found = None if setup.checkpoints is None else setup.checkpoints.load()
        if found is not None and population.fits(found.population):
            self._resume(found)
            return
        if population.device.type == "cuda" and self.size > 1 and len(population) > 1:
            shape = (1, setup.config.batch_size, *self.image)
            images = torch.zeros(shape, device=population.device, dtype=setup.hardware.dtype)
            self.size = min(self.size, population_that_fits(population, images, setup.hardware))
        self.chunks = population.chunks(self.size, self.image)

    def _resume(self, found: Checkpoint) -> None:
        """Go back to a checkpoint: the observer hears of its epochs, and may drop members."""
        population, setup, labels = self.population, self.setup, {}
        left: dict[str, tuple[str, str | None]] = {}
        self.start = found.epoch
        for member, label, standing in zip(
            self.members, found.labels, found.standings, strict=True
        ):
            self.history[member.name] = standing.history
            self.seconds[member.name] = standing.seconds
            if standing.status is None:
                labels[member.name] = label
            else:
                left[member.name] = (standing.status, standing.reason)
        population.keep([i for i, member in enumerate(self.members) if member.name in labels])
        population.load(found.population)
        self.size = min(self.size, found.size)
        self.eval_batch = found.eval_batch
        log.info("%d of %d epochs are done, by a checkpoint", found.epoch, setup.epochs)
        self._report_again(left)
        for member in self.members:
            if member.name in left:
                status, reason = left[member.name]
                self.results[member.name] = self._result(member, status, reason=reason)
        alive = [i for i, m in enumerate(population.members) if m.name not in left]
        population.keep(alive)
        self.chunks = population.chunks(self.size, self.image)
        setup.criterion.load(found.criterion, labels, self.chunks)
        setup.source.load(found.source, labels)

    def _report_again(self, left: dict[str, tuple[str, str | None]]) -> None:
        """Tell the observer of the epochs that are done; ``left`` gets who leaves at one."""
        for epoch in range(self.start):
            records = {k: each[epoch] for k, each in self.history.items() if len(each) > epoch}
            for name, reason in self.setup.observer.epoch(epoch, records).items():
                if name not in left or len(self.history[name]) > epoch + 1:
                    left[name] = ("dropped", reason)
                    del self.history[name][epoch + 1 :]

    def _save(self, epoch: int) -> None:
        """Write a checkpoint after so many epochs, if one is due."""
        checkpoints = self.setup.checkpoints
        if checkpoints is None or not len(self.population) or not checkpoints.is_due(epoch):
            return
        labels = {member.name: str(i) for i, member in enumerate(self.members)}
        criterion = self.setup.criterion.state(labels)
        if criterion is None:
            return
        standings = [
            Standing(
                history=self.history[name],
                seconds=self.seconds[name],
                status=self.results[name].status if name in self.results else None,
                reason=self.results[name].reason if name in self.results else None,
            )
            for name in labels
        ]
        checkpoints.save(
            Checkpoint(
                epoch=epoch,
                size=self.size,
                eval_batch=self.eval_batch,
                standings=standings,
                population=self.population.state(),
                criterion=criterion,
                source=self.setup.source.state(
                    {m.name: labels[m.name] for m in self.population.members}
                ),
                labels=list(labels.values()),
            )
        )

    def run(self) -> dict[str, Trained]:
        """All epochs."""
        logits = None
        for epoch in range(self.start, self.setup.epochs):
            if not len(self.population):
                break
            logits = self._whole_epoch(epoch)
            self._save(epoch + 1)
        if logits is None and len(self.population):  # all epochs were done
            logits = self._predict_within_memory()
        for i, member in enumerate(self.population.members):
            assert logits is not None
            with self.population.averaged():
                state = self.population.state_dict(i)
            own = logits[i].cpu().clone()
            self.results[member.name] = self._result(member, "finished", state=state, logits=own)
        return self.results

    def _whole_epoch(self, epoch: int) -> Tensor:
        """Train, evaluate, and let go of members; the logits [N, n, K] of those that stay."""
        started = time.perf_counter()
        losses = self._train_within_memory(epoch)
        logits = self._predict_within_memory()
        records = metrics_by_member(self.population, losses, logits, self.setup.evaluation)
        share = (time.perf_counter() - started) / len(self.population)
        for member in self.population.members:
            self.history[member.name].append(records[member.name])
            self.seconds[member.name] += share
        leaving = {
            name: ("diverged", f"the loss is {record['train_loss']} in epoch {epoch + 1}")
            for name, record in records.items()
            if has_diverged(record)
        }
        for name, reason in self.setup.observer.epoch(epoch, records).items():
            leaving.setdefault(name, ("dropped", reason))
        return self._let_go(leaving, logits) if leaving else logits

    def _train_epoch(self, epoch: int) -> Tensor:
        """One epoch of every member; the mean training loss of each [N]."""
        setup, steps = self.setup, self.setup.source.steps
        images = 0
        sums = torch.zeros(
            len(self.population), device=self.population.device, dtype=torch.float64
        )
        for step, batch in enumerate(setup.source.batches(self.chunks, epoch), epoch * steps):
            sums += train_step(setup, self.chunks, batch, step) * batch.size
            self.population.average(step)
            images += batch.size
            setup.observer.step(step + 1, setup.epochs * steps)
        mean: Tensor = sums / images
        return mean

    def _let_go(self, leaving: Mapping[str, tuple[str, str]], logits: Tensor) -> Tensor:
        members = self.population.members
        for member in members:
            if member.name in leaving:
                status, reason = leaving[member.name]
                self.results[member.name] = self._result(member, status, reason=reason)
        alive = [i for i, member in enumerate(members) if member.name not in leaving]
        self.population.keep(alive)
        self.setup.criterion.forget(leaving)
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
        source = self.setup.source
        while True:
            members = learned = None
            try:
                if self.size > 1:
                    learned = source.snapshot()
                    members = self.population.snapshot()
                return self._train_epoch(epoch)
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise TrainingError(
                        "the device's memory does not hold one student; lower train.batch_size"
                    ) from error
                if members is not None:
                    self.population.restore(members)
                    source.restore(learned)
                self.size = (min(self.size, len(self.population)) + 1) // 2
                self.chunks = self.population.chunks(self.size, self.image)
                log.info("out of memory: %d students at a time from here on", self.size)

    def _predict_within_memory(self) -> Tensor:
        """Logits [N, n, K] on the evaluation images; where memory runs out, in smaller batches."""
        while True:
            try:
                with self.population.averaged():
                    return predict(
                        self.chunks, self.setup.evaluation, self.setup.hardware, self.eval_batch
                    )
            except torch.OutOfMemoryError as error:
                if self.eval_batch == 1:
                    raise TrainingError(
                        "the device's memory does not hold one image of every student; lower "
                        "hydra.sweeper.n_jobs, or the sizes of the networks"
                    ) from error
                self.eval_batch = (self.eval_batch + 1) // 2
                log.info("out of memory: evaluated in batches of %d from here on", self.eval_batch)
