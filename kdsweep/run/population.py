"""Train some members that share everything but numbers and seeds: one call of the one loop."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from kdsweep.config import Config
from kdsweep.data.device import DeviceDataset, load_device_dataset
from kdsweep.datafree import dreams
from kdsweep.datafree.generators import Generators
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware, choose_hardware, configure
from kdsweep.losses import Loss, create_losses, hyperparameters
from kdsweep.losses.ensemble import refuse_features
from kdsweep.models import ImageClassifier, create_model
from kdsweep.teachers.outputs import create_outputs
from kdsweep.teachers.stored import Found
from kdsweep.train.criterion import Total
from kdsweep.train.interfaces import Observer, TeacherOutputs, Trained
from kdsweep.train.loop import train
from kdsweep.train.population import Member, Population
from kdsweep.train.student import MODEL, TEMPERATURE, teacher_taps, with_adapters

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Group:
    """What the members have in common."""

    config: Config  # any member's: its numbers and seeds are not read here
    student: str = "student"  # which of the pair is trained
    teacher: Found | None = None
    images: Path | None = None  # dreamt ones in place of the real ones


def train_group(
    group: Group,
    members: list[Member],
    observer: Observer,
    on_fill: Callable[[int], None] | None = None,
) -> dict[str, Trained]:
    """Train ``members`` together on this process's device.

    Raises:
        UserError: something that was asked for does not exist or does not fit.
    """
    config = group.config
    hardware = choose_hardware(config.train)
    configure(hardware)
    dataset = load_device_dataset(config, hardware)
    if group.images is not None:
        dataset = dreams.instead_of_real(dataset, group.images, config.data, hardware)
    teachers = [] if group.teacher is None else load_teachers(group, dataset, hardware)
    teacher = teachers[0] if teachers else None
    build = partial(build_student, group, dataset)
    with torch.random.fork_rng(devices=[]):
        losses = losses_of(group, build(), teacher)
    defaults = hyperparameters(losses)
    members = [dataclasses.replace(m, hyper={**defaults, **m.hyper}) for m in members]
    population = Population(
        members,
        lambda: with_adapters(
            build(),
            losses,
            teacher,
            config.data.image_size,
            learned_temperature=group.student == "student" and config.distill.learned_temperature,
        ),
        optimizer=config.train.optimizer,
        device=hardware.device,
        dtype=hardware.dtype,
    )
    criterion = Total(losses, dataset.labels, config)
    made = _generators(group, teacher, dataset, hardware)
    own = {}
    adapters = [p[0] for k, p in population.params.items() if not k.startswith(MODEL)]
    if adapters:
        own["adapter_parameters"] = _count(adapters)
    results = train(
        population,
        views=dataset.views if made is None else made,
        labels=dataset.labels,
        evaluation=dataset.evaluation,
        criterion=criterion,
        teacher=_teacher_outputs(group, teachers, losses, dataset, hardware, on_fill),
        config=config.train,
        schedule=config.schedule,
        hardware=hardware,
        observer=observer,
        eval_batch=config.evaluate.batch_size,
        together=_together(losses, members),
        stop_epoch=config.teacher.checkpoint_epoch if group.student == "teacher" else None,
    )
    for member in population.members:  # those that went to the end
        beside, counts = criterion.learned(member), dict(own)
        counts.update({f"{k}_parameters": _count(v.values()) for k, v in beside.items()})
        if made is not None:
            network = made.learned(member)
            beside["generator"] = network.state_dict()
            counts["generator_parameters"] = _count(network.parameters())
        saved = {k: {n: v.detach().cpu().clone() for n, v in s.items()} for k, s in beside.items()}
        results[member.name] = dataclasses.replace(
            results[member.name], beside=saved, counts=counts
        )
    return results


def _count(parameters: Iterable[Tensor]) -> float:
    return float(sum(p.numel() for p in parameters))


def _generators(
    group: Group, teacher: nn.Module | None, dataset: DeviceDataset, hardware: Hardware
) -> Generators | None:
    """What makes the students' images, where that is wanted: no real image is then read."""
    config = group.config
    if group.student != "student" or config.distill.generator is None:
        return None
    assert teacher is not None
    steps = config.distill.generator.steps
    return Generators(
        config.distill.generator,
        teacher,
        hardware,
        image_size=config.data.image_size,
        count=len(dataset.labels) if steps is None else steps * config.train.batch_size,
        clip_norm=config.train.clip_norm,
    )


def _together(losses: dict[str, Loss], members: list[Member]) -> int | None:
    """One at a time where a loss can't be fused, which is then said."""
    alone = [loss for loss in losses.values() if loss.spec.why_not_fused]
    if alone and len(members) > 1:
        log.info("students train one by one: %s, %s", alone[0].name, alone[0].spec.why_not_fused)
    return 1 if alone else None


def build_student(group: Group, dataset: DeviceDataset) -> ImageClassifier:
    """A freshly initialised network of the kind that this group trains."""
    config = group.config
    model, key = config.pair.student, "pair.student"
    if group.student == "teacher":
        model, key = config.teaching, config.teaching_key
    return create_model(model, classes=dataset.classes, image_size=config.data.image_size, key=key)


def idle_numbers(losses: Mapping[str, Loss]) -> frozenset[str]:
    """Those of ``distill.temperature`` and ``distill.alpha`` that change nothing."""
    if not losses:
        return frozenset({"temperature", "alpha"})
    shared = any(
        loss.spec.uses_temperature and TEMPERATURE not in loss.values for loss in losses.values()
    )
    return frozenset() if shared else frozenset({"temperature"})


def losses_of(group: Group, student: nn.Module, teacher: nn.Module | None) -> dict[str, Loss]:
    """The distillation losses that the members minimise; none for a teacher or a baseline.

    Raises:
        UserError: a loss can't be had as asked for, or a temperature moves that none uses.
    """
    if group.student != "student":
        return {}
    distill = group.config.distill
    size = group.config.data.image_size
    losses = create_losses(distill.losses, student=student, teacher=teacher, image_size=size)
    moved = distill.learned_temperature or "temperature" in distill.schedules
    if moved and TEMPERATURE in idle_numbers(losses):
        key = "learned_temperature" if distill.learned_temperature else "schedules.temperature"
        raise UserError(
            f"distill.{key}: allowed beside a loss that uses distill.temperature, such as hinton; "
            f"given are {', '.join(losses) or 'none'}"
        )
    refuse_features(losses, group.config.teacher.ensemble)
    return losses


def load_teachers(group: Group, dataset: DeviceDataset, hardware: Hardware) -> list[nn.Module]:
    """The teachers' networks: one, or every member of an ensemble."""
    assert group.teacher is not None
    found = group.teacher.members or (group.teacher,)
    return [_load_teacher(group, one, dataset, hardware) for one in found]


def load_teacher(group: Group, dataset: DeviceDataset, hardware: Hardware) -> nn.Module:
    """The network of the only teacher, or of an ensemble's first."""
    return load_teachers(group, dataset, hardware)[0]


def _load_teacher(
    group: Group, found: Found, dataset: DeviceDataset, hardware: Hardware
) -> nn.Module:
    """A network with its trained parameters, in evaluation mode, on the device."""
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]):
        model = build_student(dataclasses.replace(group, student="teacher"), dataset)
    model.load_state_dict(load_file(found.weights))
    model = model.to(device=hardware.device, dtype=hardware.dtype).eval().requires_grad_(False)
    if hardware.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model


def _teacher_outputs(
    group: Group,
    teachers: list[nn.Module],
    losses: dict[str, Loss],
    dataset: DeviceDataset,
    hardware: Hardware,
    on_fill: Callable[[int], None] | None,
) -> TeacherOutputs | None:
    labels_images = group.student == "student" and group.config.distill.generator is not None
    if not (labels_images or any(loss.spec.needs_teacher for loss in losses.values())):
        return None
    assert group.teacher is not None
    return create_outputs(
        group.teacher,
        teachers,
        group.config,
        dataset,
        hardware,
        taps=teacher_taps(losses),
        on_fill=on_fill,
    )
