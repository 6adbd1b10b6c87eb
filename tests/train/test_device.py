"""What a GPU would meet, without one: tensors on PyTorch's "meta" device, which hold no numbers.

In a step of the training every tensor must be on the device, and nothing may be read back: a
number that the host asks for makes it wait, and it launches nothing meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdsweep.config import Config, OptimizerConfig, ScheduleConfig, ViewsConfig
from kdsweep.data import Views
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.registry import create_losses, hyperparameters, loss_names
from kdsweep.teachers.live import LiveTeacher
from kdsweep.train.batch import StoredImages
from kdsweep.train.criterion import Total
from kdsweep.train.grouped import group
from kdsweep.train.population import Population
from kdsweep.train.step import TrainingSetup, train_step
from kdsweep.train.student import Student, teacher_taps, with_adapters
from tests.train.setting import (
    BATCH,
    CLASSES,
    CONFIG,
    GROUPED,
    IMAGES,
    ONE_BY_ONE,
    SIZE,
    Net,
    Quiet,
    Setting,
    a_population,
)

DEVICE = torch.device("meta")


class Watch(TorchDispatchMode):
    """Counts the operations, and notes what moves between the host and the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.crossings: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        devices = {
            leaf.device.type
            for leaf in tree_leaves((args, kwargs, result))
            if isinstance(leaf, Tensor)
        }
        self.count += 1
        if len(devices) > 1:
            self.crossings.append(str(func))
        return result


@pytest.fixture(autouse=True)
def _meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this device lacks, and a GPU has."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(Tensor, "bincount", lambda labels: labels.new_zeros(CLASSES))


def watch(
    losses: Mapping[str, Mapping[str, Any]],
    hardware: Hardware,
    *,
    members: int = 3,
    optimizer: OptimizerConfig | None = None,
    views: ViewsConfig = CONFIG.views,
) -> Watch:
    """The second step of members of two seeds."""
    shared = Setting(optimizer=optimizer)
    teacher = Net(5).eval().requires_grad_(False)
    made = create_losses(losses, student=Net(), teacher=teacher)
    hardware = replace(hardware, device=DEVICE, dtype=torch.float32)

    def build() -> Student:
        return with_adapters(Net(), made, teacher, SIZE)

    population = Population(
        [replace(m, hyper={**hyperparameters(made), **m.hyper}) for m in a_population(members)],
        build,
        optimizer=shared.config.optimizer,
        device=DEVICE,
    )
    population.grouped, population.tried = group(population.template), True
    labels = torch.zeros(IMAGES, dtype=torch.int64, device=DEVICE)
    images = torch.zeros(IMAGES, 3, SIZE, SIZE, dtype=torch.uint8)
    rendered = Views(images, replace(CONFIG, views=views), device=DEVICE)
    live = LiveTeacher(teacher.to(DEVICE), hardware, teacher_taps(made))
    setup = TrainingSetup(
        source=StoredImages(rendered, labels, live, batch_size=BATCH),
        evaluation=shared.evaluation,
        criterion=Total(made, labels, Config()),
        config=shared.config,
        schedule=ScheduleConfig(name="cosine"),
        hardware=hardware,
        observer=Quiet(),
    )
    chunks = population.chunks(hardware.chunk_size(members), (3, SIZE, SIZE))
    batches = setup.source.batches(chunks, 0)
    train_step(setup, chunks, next(batches), 0)  # makes the losses' states
    with Watch() as watched:
        train_step(setup, chunks, next(batches), 1)
    return watched


@pytest.mark.parametrize("hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"])
@pytest.mark.parametrize("loss", sorted(loss_names()))
def test_a_step_stays_on_the_device(loss: str, hardware: Hardware) -> None:
    assert watch({loss: {}}, hardware).crossings == []


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimiser_stays_on_the_device(name: str) -> None:
    optimizer = OptimizerConfig(name=name)
    assert watch({"hinton": {}}, GROUPED, optimizer=optimizer).crossings == []


@pytest.mark.parametrize("more", [{"erase": 0.5}, {"mixup": 0.8}])
def test_every_augmentation_stays_on_the_device(more: dict[str, float]) -> None:
    views = replace(CONFIG.views, **more)
    assert watch({"hinton": {}}, GROUPED, views=views).crossings == []


@pytest.mark.parametrize("loss", ["hinton", "fitnet"])
def test_more_members_are_not_more_operations(loss: str) -> None:
    few, many = (watch({loss: {}}, GROUPED, members=count) for count in (3, 25))
    assert few.count == many.count


class Reading(Total):
    """A criterion that looks at its loss."""

    def __call__(self, *given: Any, **named: Any) -> Tensor:
        loss = super().__call__(*given, **named)
        assert loss.isfinite().all()
        return loss


class Moving(Total):
    """A criterion that weighs its loss with a tensor of the host's."""

    def __call__(self, *given: Any, **named: Any) -> Tensor:
        loss = super().__call__(*given, **named)
        return loss * torch.ones(1).to(DEVICE)


def test_the_test_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.Total", Moving)
    assert watch({"hinton": {}}, GROUPED).crossings == ["aten._to_copy.default"]
    monkeypatch.setattr(f"{__name__}.Total", Reading)
    with pytest.raises(RuntimeError, match="meta tensors"):
        watch({"hinton": {}}, GROUPED)
