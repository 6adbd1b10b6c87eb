"""The networks and losses of a population, built as its configuration says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdsweep.config import Config
from kdsweep.data.device import DeviceDataset
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.losses import Loss
from kdsweep.losses.ensemble import refuse_features
from kdsweep.losses.registry import create_losses
from kdsweep.models import ImageClassifier, create_model
from kdsweep.teachers.stored import Found
from kdsweep.train.student import TEMPERATURE


@dataclass(frozen=True, kw_only=True)
class PopulationSpec:
    """What the members of a population have in common."""

    config: Config  # any member's: its numbers and seeds are not read here
    role: str = "student"  # which of the pair is trained: student or teacher
    teacher: Found | None = None
    images: Path | None = None  # dreamt ones in place of the real ones


def with_train(spec: PopulationSpec, **changes: Any) -> PopulationSpec:
    """The same population, trained in another way: ``changes`` are of its ``TrainConfig``."""
    train = dataclasses.replace(spec.config.train, **changes)
    return dataclasses.replace(spec, config=dataclasses.replace(spec.config, train=train))


def build_student(spec: PopulationSpec, dataset: DeviceDataset) -> ImageClassifier:
    """A freshly initialised network of the kind that this population trains."""
    config = spec.config
    model, key = config.pair.student, "pair.student"
    if spec.role == "teacher":
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


def losses_of(
    spec: PopulationSpec, student: nn.Module, teacher: nn.Module | None
) -> dict[str, Loss]:
    """The distillation losses that the members minimise; none for a teacher or a baseline.

    Raises:
        UserError: a loss can't be had as asked for, or a temperature moves that none uses.
    """
    if spec.role != "student":
        return {}
    distill = spec.config.distill
    size = spec.config.data.image_size
    losses = create_losses(distill.losses, student=student, teacher=teacher, image_size=size)
    moved = distill.learned_temperature or "temperature" in distill.schedules
    if moved and TEMPERATURE in idle_numbers(losses):
        key = "learned_temperature" if distill.learned_temperature else "schedules.temperature"
        raise UserError(
            f"distill.{key}: allowed beside a loss that uses distill.temperature, such as hinton; "
            f"given are {', '.join(losses) or 'none'}"
        )
    refuse_features(losses, spec.config.teacher.ensemble)
    return losses


def load_teachers(
    spec: PopulationSpec, dataset: DeviceDataset, hardware: Hardware
) -> list[nn.Module]:
    """The teachers' networks: none, one, or every member of an ensemble."""
    if spec.teacher is None:
        return []
    found = spec.teacher.members or (spec.teacher,)
    return [_load_teacher(spec, one, dataset, hardware) for one in found]


def load_teacher(spec: PopulationSpec, dataset: DeviceDataset, hardware: Hardware) -> nn.Module:
    """The network of the only teacher, or of an ensemble's first."""
    return load_teachers(spec, dataset, hardware)[0]


def _load_teacher(
    spec: PopulationSpec, found: Found, dataset: DeviceDataset, hardware: Hardware
) -> nn.Module:
    """A network with its trained parameters, in evaluation mode, on the device."""
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]):
        model = build_student(dataclasses.replace(spec, role="teacher"), dataset)
    model.load_state_dict(load_file(found.weights))
    model = model.to(device=hardware.device, dtype=hardware.dtype).eval().requires_grad_(False)
    if hardware.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model
