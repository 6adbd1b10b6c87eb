"""A small data set, networks and a way to train members on them, in float64 on the CPU."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from kdsweep.config import (
    Config,
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    ViewsConfig,
)
from kdsweep.data import Views, normalise
from kdsweep.data.device import EvaluationImages
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.registry import create_losses, hyperparameters
from kdsweep.teachers.live import LiveTeacher
from kdsweep.train.batch import StoredImages
from kdsweep.train.checkpoint import Checkpoints
from kdsweep.train.criterion import Total
from kdsweep.train.interfaces import BatchSource, TeacherOutputs, Trained
from kdsweep.train.loop import train
from kdsweep.train.population import Member, Population
from kdsweep.train.step import TrainingSetup
from kdsweep.train.student import teacher_taps, with_adapters

CLASSES, SIZE, IMAGES, BATCH, EPOCHS = 3, 8, 17, 8, 3  # 17 = 2 * 8 + 1: one image is left out
CONFIG = DataConfig(image_size=SIZE, views=ViewsConfig(padding=1, flip=True))
ONE_BY_ONE = Hardware(
    device=torch.device("cpu"),
    dtype=torch.float64,
    bf16=False,
    channels_last=False,
    grouped=False,
    workers=1,
)
GROUPED = dataclasses.replace(ONE_BY_ONE, grouped=True)


class Net(nn.Module):
    """Convolutions with and without groups and bias, batch norm, dropout, a linear classifier."""

    stages = ("first", "second")
    classifier = "head"

    def __init__(self, width: int = 4, classes: int = CLASSES) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(self.first(images))
        logits: Tensor = self.head(self.dropout(maps.mean((2, 3))))
        return logits


class Quiet:
    """An observer that remembers, and drops ``leaving`` after the first epoch."""

    def __init__(self, leaving: Mapping[str, str] | None = None) -> None:
        self.leaving = dict(leaving or {})
        self.steps: list[tuple[int, int]] = []
        self.epochs: list[tuple[int, set[str]]] = []

    def step(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        self.epochs.append((epoch, set(records)))
        return self.leaving


def images_and_labels(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise, a little brighter in the channel of its class."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 200, (count, 3, SIZE, SIZE), generator=draw)
    images[torch.arange(count), labels] += 55
    return images.to(torch.uint8), labels


def teacher_network(width: int = 5) -> Net:
    """A wider network with random parameters, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(77)
        return Net(width).double().eval().requires_grad_(False)


def a_population(count: int) -> list[Member]:
    """Members that differ in everything that members may differ in; two in three share a seed."""
    return [
        Member(
            name=f"m{i}",
            seed=100 + 2 * i // 3,
            hyper={
                "lr": 0.002 * (1 + i),
                "weight_decay": 1e-3 * i,
                "temperature": 1.0 + 0.5 * i,
                "alpha": 0.1 + 0.03 * i,
            },
        )
        for i in range(count)
    ]


class Setting:
    """What the members of a population share."""

    def __init__(
        self,
        *,
        loss: str = "hinton",
        options: Mapping[str, object] | None = None,
        optimizer: OptimizerConfig | None = None,
        clip_norm: float | None = 0.5,
        data: DataConfig = CONFIG,
    ) -> None:
        images, self.labels = images_and_labels(IMAGES, seed=1)
        self.views = Views(images, data, device="cpu", dtype=torch.float64)
        evaluation, truth = images_and_labels(30, seed=2)
        self.evaluation = EvaluationImages(
            name="validation",
            images=evaluation,
            labels=truth,
            normalise=partial(normalise, config=CONFIG, dtype=torch.float64),
        )
        self.teacher = teacher_network()
        self.losses = create_losses({loss: options or {}}, student=Net(), teacher=self.teacher)
        self.config = TrainConfig(
            epochs=EPOCHS,
            batch_size=BATCH,
            clip_norm=clip_norm,
            optimizer=optimizer or OptimizerConfig(),
        )

    def population(self, members: list[Member], *, ema: float = 0.0) -> Population:
        filled = hyperparameters(self.losses)
        return Population(
            [dataclasses.replace(m, hyper={**filled, **m.hyper}) for m in members],
            lambda: with_adapters(Net(), self.losses, self.teacher.float(), SIZE),
            optimizer=self.config.optimizer,
            device=torch.device("cpu"),
            dtype=torch.float64,
            ema=ema,
        )

    def train(
        self,
        members: list[Member],
        hardware: Hardware = ONE_BY_ONE,
        *,
        observer: Quiet | None = None,
        teacher: TeacherOutputs | None = None,
        criterion: Total | None = None,
        together: int | None = None,
        epochs: int = EPOCHS,
        source: BatchSource | None = None,
        ema: float = 0.0,
        schedule: str = "cosine",
        checkpoints: Checkpoints | None = None,
    ) -> dict[str, Trained]:
        population = self.population(members, ema=ema)
        live = LiveTeacher(self.teacher.double(), hardware, teacher_taps(self.losses))
        stored = StoredImages(self.views, self.labels, teacher or live, batch_size=BATCH)
        setup = TrainingSetup(
            source=source or stored,
            evaluation=self.evaluation,
            criterion=criterion or Total(self.losses, self.labels, Config()),
            config=dataclasses.replace(self.config, epochs=epochs),
            schedule=ScheduleConfig(name=schedule, step_size=1, milestones=[1.0, 2.0]),
            hardware=hardware,
            observer=observer or Quiet(),
            eval_batch=11,
            together=together,
            checkpoints=checkpoints,
        )
        return train(population, setup)


def assert_same(one: Trained, other: Trained, tolerance: float = 1e-9) -> None:
    """The same curve, parameters, running statistics and logits, up to rounding."""
    assert one.status == other.status == "finished"
    assert len(one.history) == len(other.history)
    for a, b in zip(one.history, other.history, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert abs(a[name] - b[name]) <= tolerance, name
    assert one.state.keys() == other.state.keys()
    for name, value in one.state.items():
        # Batch norm takes away what the bias in front of it adds: its gradient is rounding noise.
        if not re.fullmatch(r"(first|block\d)\.(0\.bias|1\.running_mean)", name):
            torch.testing.assert_close(value, other.state[name], rtol=tolerance, atol=tolerance)
    assert one.logits is not None
    assert other.logits is not None
    torch.testing.assert_close(one.logits, other.logits, rtol=tolerance, atol=tolerance)
