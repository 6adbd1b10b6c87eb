"""What jobs ask for, checked and grouped into populations before anything is trained or logged."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from kdsweep.config import Config
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.datafree import dreams
from kdsweep.engines.networks import PopulationSpec, build_student, idle_numbers, losses_of
from kdsweep.engines.slots import slot_machine
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware, choose_hardware, on_this_machine
from kdsweep.jobs.grouping import group_jobs, group_key
from kdsweep.jobs.job import Job
from kdsweep.losses.base import Loss
from kdsweep.losses.check import check_created
from kdsweep.models import create_model
from kdsweep.models.user_models import check_network
from kdsweep.models.weights import load_weights
from kdsweep.plugins import refuse_interactive, source_of
from kdsweep.store import digest
from kdsweep.teachers import chain
from kdsweep.train.dropout import refuse_other_randomness
from kdsweep.train.schedule import ANNEALED, anneals

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Jobs that train as one population, checked and ready."""

    jobs: Sequence[Job]
    key: str  # of the group
    hardware: Hardware  # that trains
    host: Hardware  # that this process measures with; the same where this machine trains
    dataset: DeviceDataset  # on the host's device
    needs_teacher: bool
    idle: frozenset[str]  # of temperature and alpha, those that none of the losses reads

    @property
    def config(self) -> Config:
        """Any job's configuration, for what the jobs share."""
        return self.jobs[0].config

    @property
    def device(self) -> str:
        """What trains, in words, for logs and tags."""
        engine = self.config.engine
        if engine.name == "local":
            return self.hardware.describe()
        gpu = "a GPU and " if self.hardware.device.type == "cuda" else ""
        return f"{engine.name} ({gpu}{engine.cpus} cores for each part)"


def plan(jobs: Sequence[Job], datasets: Datasets | None = None) -> list[Plan]:
    """Check every job, and group those that can train together.

    Args:
        jobs: of one root.
        datasets: those that are loaded; None: none is.

    Raises:
        UserError: the first thing that can't be had as it was asked for.
    """
    datasets = datasets or Datasets()
    plans = []
    for group in group_jobs(jobs):
        config = group[0].config
        hardware = host = choose_hardware(config.train, slot_machine(config.engine))
        if config.engine.name != "local":
            host = on_this_machine(hardware)
            _refuse_to_time(config, hardware, host)
        if hardware.workers > 1 or config.engine.name != "local":
            refuse_interactive(config.plugins)
        dataset = datasets.load(config, host)
        with torch.random.fork_rng(devices=[]):
            student = build_student(PopulationSpec(config=config), dataset)
            teacher = build_student(PopulationSpec(config=config, role="teacher"), dataset)
        name = f"pair.student.name={config.pair.student.name}"
        refuse_other_randomness(student, config.data.image_size, given=name)
        _check_networks(config, student, teacher)
        needs_teacher, idle = False, frozenset[str]()
        tried: set[str] = set()
        for job in group:
            losses = losses_of(PopulationSpec(config=job.config), student, teacher)
            _check_memory(job.config, losses)
            _check_losses(job.config, losses, student, teacher, tried)
            needs_teacher = config.distill.without_images is not None or any(
                loss.spec.needs_teacher for loss in losses.values()
            )
            _check_objectives(job, dataset.classes, needs_teacher=needs_teacher)
            idle = idle_numbers(losses)
        dreams.check(config, teacher)
        if needs_teacher:
            chain.check(config, dataset, hardware)
            if config.teacher.checkpoint is not None:
                _check_checkpoint(config, config.teacher.checkpoint, dataset)
        plans.append(
            Plan(
                jobs=group,
                key=group_key(config),
                hardware=hardware,
                host=host,
                dataset=dataset,
                needs_teacher=needs_teacher,
                idle=idle,
            )
        )
    return plans


def select(plans: Sequence[Plan], jobs: Sequence[Job]) -> list[Plan]:
    """The plans of some jobs that were checked before, without checking them again."""
    by_key: dict[str, list[Job]] = {}
    for job in jobs:
        by_key.setdefault(group_key(job.config), []).append(job)
    known = {plan.key: plan for plan in plans}
    return [dataclasses.replace(known[key], jobs=part) for key, part in by_key.items()]


def _refuse_to_time(config: Config, hardware: Hardware, host: Hardware) -> None:
    """Latency is this process's to measure, on what the networks are meant for."""
    if config.times_networks and hardware.device.type != host.device.type:
        asked = "evaluate.latency=true" if config.evaluate.latency else "objective=latency_ms"
        raise UserError(
            f"{asked}: allowed on a machine with a GPU where engine={config.engine.name} trains "
            "on one, since networks are timed here; leave it out, or start the command there"
        )


def _check_networks(config: Config, student: nn.Module, teacher: nn.Module) -> None:
    """Try a user's own models out."""
    models = [(config.pair.student, "pair.student", student)]
    models += [(config.teaching, config.teaching_key, teacher)]
    for model, key, network in models:
        if source_of("model", model.name) is not None:
            given = f"{key}.name={model.name}"
            check_network(network, image_size=config.data.image_size, given=given)


def _check_losses(
    config: Config,
    losses: Mapping[str, Loss],
    student: nn.Module,
    teacher: nn.Module,
    tried: set[str],
) -> None:
    """Try a user's own losses out, each way of making one once."""
    for name, loss in losses.items():
        made = digest(name, loss.structure)
        if source_of("loss", name) is not None and made not in tried:
            check_created(loss, student, teacher, image_size=config.data.image_size)
            tried.add(made)


def _check_memory(config: Config, losses: Mapping[str, Loss]) -> None:
    """A loss that remembers images one by one needs to meet the same ones again."""
    remembering = [loss.name for loss in losses.values() if loss.spec.uses_index]
    if remembering and config.data.views.mixup > 0:
        raise UserError(
            f"data.views.mixup={config.data.views.mixup}: allowed is 0 with "
            f"distill.losses.{remembering[0]}, which remembers images one by one"
        )
    if remembering and config.distill.generator is not None:
        raise UserError(
            f"distill.losses.{remembering[0]}: allowed is a loss that does not remember "
            "images one by one with distill.generator, whose images are never seen "
            "again; choose infonce, or distill=deep_inversion"
        )


def _check_objectives(job: Job, classes: int, *, needs_teacher: bool) -> None:
    """An objective has to be something that this job's training will measure."""
    missing = {}
    if not needs_teacher:
        missing = dict.fromkeys(("agreement", "fidelity_kl"), "a loss that has a teacher")
    if job.is_baseline:
        missing["delta_vs_baseline"] = "a loss, since this is the baseline itself"
    if classes <= 5:
        missing["top5_accuracy"] = f"more than 5 classes; here are {classes}"
    for name in job.config.objectives:
        if name in missing:
            raise UserError(f"objective={name}: allowed with {missing[name]}")


def _check_checkpoint(config: Config, file: str, dataset: DeviceDataset) -> None:
    """The file has to fit the first of those that teach."""
    with torch.random.fork_rng(devices=[]):
        model = create_model(
            config.pair.teacher,
            classes=dataset.classes,
            image_size=config.data.image_size,
            key="pair.teacher",
        )
    load_weights(model, file, option="teacher.checkpoint")


def warn_of_idle_average(plans: Sequence[Plan]) -> None:
    """Say, once, that averaging is no use where the learning rate has faded."""
    for plan in plans:
        config, own = plan.config, plan.config.evaluate
        given = [f"evaluate.last_epochs={own.last_epochs}"] if own.last_epochs > 1 else []
        given += [f"evaluate.ema={own.ema:g}"] if own.ema > 0 else []
        if given and anneals(config.schedule, config.train.epochs):
            log.warning(
                "%s: with schedule=%s the learning rate fades to %g %% of its peak or less, so "
                "the last weights hardly differ, and an average with earlier ones is no better "
                "or lower; leave it out",
                ", ".join(given),
                config.schedule.name,
                100 * ANNEALED,
            )
            return


def refuse_idle_axes(plans: Sequence[Plan]) -> None:
    """Let no sweep range over a number that changes nothing.

    Raises:
        UserError: temperature or alpha differs between cells of which none has a loss that
            reads it.
    """
    for key in ("temperature", "alpha"):
        ranging = [p for p in plans if len({getattr(j.config.distill, key) for j in p.jobs}) > 1]
        if ranging and all(key in p.idle for p in ranging):
            values = {getattr(job.config.distill, key) for job in ranging[0].jobs}
            losses = ", ".join(ranging[0].config.distill.losses) or "no distillation"
            raise UserError(
                f"distill.{key}={','.join(f'{v:g}' for v in sorted(values))}: changes nothing "
                f"with {losses}, so these cells would be equal; sweep something else"
            )
