"""Train some members that share everything but numbers and seeds: one call of the one loop."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from kdsweep import plugins
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.datafree import dreams
from kdsweep.datafree.generators import Generators
from kdsweep.engines.checkpoints import create_checkpoints
from kdsweep.engines.networks import PopulationSpec, build_student, load_teachers, losses_of
from kdsweep.hardware.choose import Hardware, choose_hardware, configure
from kdsweep.losses import Loss
from kdsweep.losses.registry import hyperparameters
from kdsweep.teachers.bank import Banks
from kdsweep.teachers.outputs import create_outputs
from kdsweep.train.batch import StoredImages
from kdsweep.train.criterion import Total
from kdsweep.train.interfaces import Observer, TeacherOutputs, Trained
from kdsweep.train.loop import train
from kdsweep.train.population import Member, Population
from kdsweep.train.step import TrainingSetup
from kdsweep.train.student import MODEL, Student, teacher_taps, with_adapters

log = logging.getLogger(__name__)


def train_population(
    spec: PopulationSpec,
    members: Sequence[Member],
    observer: Observer,
    *,
    datasets: Datasets | None = None,
    banks: Banks | None = None,
) -> dict[str, Trained]:
    """Train ``members`` together on this process's device.

    Args:
        spec: what they have in common.
        members: different ones, by name.
        observer: hears of steps and epochs.
        datasets: those that are loaded; None: none is.
        banks: of teachers' logits, those that are open; None: none is.

    Raises:
        UserError: something that was asked for does not exist or does not fit.
        TrainingError: not even one member fits into the device's memory.
    """
    config = spec.config
    plugins.load(config.plugins)  # this may be another process than the configuration's
    hardware = choose_hardware(config.train)
    configure(hardware)
    dataset = (datasets or Datasets()).load(config, hardware)
    real = dataset
    if spec.images is not None:
        dataset = dreams.instead_of_real(dataset, spec.images, config.data, hardware)
    teachers = load_teachers(spec, dataset, hardware)
    checkpoints = create_checkpoints(spec, real, hardware, members)
    losses = _create_losses(spec, dataset, teachers)
    population = _create_population(spec, members, losses, dataset, teachers, hardware)
    source = _create_source(spec, losses, dataset, teachers, hardware, banks or Banks())
    criterion = Total(losses, dataset.labels, config)
    setup = TrainingSetup(
        source=source,
        criterion=criterion,
        evaluation=dataset.evaluation,
        config=config.train,
        schedule=config.schedule,
        hardware=hardware,
        observer=observer,
        eval_batch=config.evaluate.batch_size,
        together=_together(losses, members),
        stop_epoch=config.teacher.checkpoint_epoch if spec.role == "teacher" else None,
        checkpoints=checkpoints,
    )
    with checkpoints or contextlib.nullcontext():
        results = train(population, setup)
    for member in population.members:  # those that went to the end
        beside, counts = _learned_beside(member, population, criterion, source)
        results[member.name] = dataclasses.replace(
            results[member.name], beside=beside, counts=counts
        )
    return results


def _create_losses(
    spec: PopulationSpec, dataset: DeviceDataset, teachers: Sequence[nn.Module]
) -> dict[str, Loss]:
    with torch.random.fork_rng(devices=[]):
        student = build_student(spec, dataset)
    return losses_of(spec, student, teachers[0] if teachers else None)


def _create_population(
    spec: PopulationSpec,
    members: Sequence[Member],
    losses: Mapping[str, Loss],
    dataset: DeviceDataset,
    teachers: Sequence[nn.Module],
    hardware: Hardware,
) -> Population:
    """The members as they start, with every number that the losses read."""
    config, defaults = spec.config, hyperparameters(losses)

    def build() -> Student:
        return with_adapters(
            build_student(spec, dataset),
            losses,
            teachers[0] if teachers else None,
            config.data.image_size,
            learned_temperature=spec.role == "student" and config.distill.learned_temperature,
        )

    return Population(
        [dataclasses.replace(m, hyper={**defaults, **m.hyper}) for m in members],
        build,
        optimizer=config.train.optimizer,
        device=hardware.device,
        dtype=hardware.dtype,
        ema=config.evaluate.ema,
    )


def _create_source(
    spec: PopulationSpec,
    losses: Mapping[str, Loss],
    dataset: DeviceDataset,
    teachers: Sequence[nn.Module],
    hardware: Hardware,
    banks: Banks,
) -> StoredImages | Generators:
    """What the members train on; where images are generated, no real one is read."""
    config, taps = spec.config, teacher_taps(losses)
    generator, batch_size = config.distill.generator, config.train.batch_size
    if spec.role == "student" and generator is not None:
        steps = generator.steps
        return Generators(
            generator,
            teachers[0],
            hardware,
            taps=taps,
            image_size=config.data.image_size,
            count=len(dataset.labels) if steps is None else steps * batch_size,
            batch_size=batch_size,
            clip_norm=config.train.clip_norm,
        )
    outputs: TeacherOutputs | None = None
    if any(loss.spec.needs_teacher for loss in losses.values()):
        assert spec.teacher is not None
        outputs = create_outputs(
            spec.teacher,
            teachers,
            config,
            dataset,
            hardware,
            banks=banks,
            taps=taps,
        )
    return StoredImages(dataset.views, dataset.labels, outputs, batch_size=batch_size)


def _together(losses: Mapping[str, Loss], members: Sequence[Member]) -> int | None:
    """One at a time where a loss can't be fused, which is then said."""
    alone = [loss for loss in losses.values() if loss.spec.why_not_fused]
    if alone and len(members) > 1:
        log.info("students train one by one: %s, %s", alone[0].name, alone[0].spec.why_not_fused)
    return 1 if alone else None


def _learned_beside(
    member: Member, population: Population, criterion: Total, source: StoredImages | Generators
) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """What learned with a member, by what it is called, and how many parameters that has."""
    beside, counts = criterion.learned(member), {}
    adapters = [p[0] for name, p in population.params.items() if not name.startswith(MODEL)]
    if adapters:
        counts["adapter_parameters"] = _count(adapters)
    counts.update({f"{k}_parameters": _count(v.values()) for k, v in beside.items()})
    if isinstance(source, Generators):
        network = source.learned(member)
        beside["generator"] = network.state_dict()
        counts["generator_parameters"] = _count(network.parameters())
    saved = {k: {n: v.detach().cpu().clone() for n, v in s.items()} for k, s in beside.items()}
    return saved, counts


def _count(parameters: Iterable[Tensor]) -> float:
    return float(sum(p.numel() for p in parameters))
