from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kdsweep.config import Config, DistillConfig, TeacherConfig, TrainConfig
from kdsweep.engines.networks import PopulationSpec, losses_of
from kdsweep.errors import UserError
from kdsweep.losses import Outputs
from kdsweep.losses.registry import create_losses, hyperparameters
from kdsweep.train.criterion import Total
from kdsweep.train.dropout import seed_dropout
from kdsweep.train.grouped import check, group
from kdsweep.train.student import with_adapters
from tests.train.setting import CLASSES, Net, teacher_network

EPOCHS, BATCH = 10, 6
LABELS = torch.arange(BATCH) % CLASSES


def outputs(seed: int, **features: Tensor) -> Outputs:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, BATCH, CLASSES, generator=draw, dtype=torch.float64)
    return Outputs(logits=logits, features=features)


def loss_at(
    epoch: float,
    schedules: Mapping[str, Mapping[str, Any]],
    *,
    loss: str = "hinton",
    alpha: float = 0.7,
    temperature: float = 4.0,
    weight: float = 1.0,
    features: Mapping[str, Tensor] | None = None,
    teacher: TeacherConfig | None = None,
    said: Tensor | None = None,
) -> Tensor:
    """What two members with these numbers lose at an epoch of ten."""
    distill = DistillConfig(losses={loss: {"weight": weight}}, schedules=dict(schedules))
    config = Config(
        distill=distill,
        train=TrainConfig(epochs=EPOCHS),
        teacher=TeacherConfig() if teacher is None else teacher,
    )
    losses = create_losses(distill.losses, student=Net(), teacher=teacher_network())
    numbers = {"lr": 1e-3, "alpha": alpha, "temperature": temperature, **hyperparameters(losses)}
    hyper = {k: torch.full((2,), v, dtype=torch.float64) for k, v in numbers.items()}
    chunk = SimpleNamespace(members=[SimpleNamespace(name="m")], seeds=torch.zeros(2), hyper=hyper)
    return Total(losses, LABELS, config)(
        chunk,
        outputs(1, **(features or {})),
        outputs(2) if said is None else Outputs(logits=said),
        LABELS.expand(2, -1),
        epoch=epoch,
        index=torch.arange(BATCH).expand(2, -1),
        mixup=None,
    )


@pytest.mark.parametrize(
    ("name", "key", "end"),
    [("alpha", "alpha", 0.2), ("temperature", "temperature", 1.5), ("hinton", "weight", 3.0)],
)
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_schedule_starts_at_the_value_and_stops_at_its_end(
    name: str, key: str, end: float, kind: str
) -> None:
    schedule = {name: {"name": kind, "end": end}}
    torch.testing.assert_close(loss_at(0.0, schedule), loss_at(0.0, {}))
    torch.testing.assert_close(loss_at(10.0, schedule), loss_at(10.0, {}, **{key: end}))
    half = {"alpha": 0.45, "temperature": 2.75, "weight": 2.0}[key]
    torch.testing.assert_close(loss_at(5.0, schedule), loss_at(5.0, {}, **{key: half}))
    assert not torch.allclose(loss_at(5.0, schedule), loss_at(5.0, {}))


def test_distillation_can_stop_after_an_epoch() -> None:
    schedule = {"alpha": {"name": "stop", "stop_epoch": 4}}
    torch.testing.assert_close(loss_at(3.9, schedule), loss_at(3.9, {}))
    torch.testing.assert_close(loss_at(4.0, schedule), loss_at(4.0, {}, alpha=0.0))


def test_theta_is_the_temperature_where_it_is_learned() -> None:
    theta = torch.tensor([[[0.0]], [[-50.0]]], dtype=torch.float64)  # T = 11 and T = 1
    learned = loss_at(3.0, {}, features={"temperature": theta})
    assert learned[0] == loss_at(3.0, {}, temperature=11.0)[0]
    torch.testing.assert_close(learned[1], loss_at(3.0, {}, temperature=1.0)[1])


@pytest.mark.parametrize(
    ("schedules", "line"),
    [
        ({"dkd": {"name": "linear"}}, "schedules.dkd=.*alpha, temperature, hinton"),
        ({"alpha": {"name": "linear", "end": 2}}, r"schedules.alpha.end=2: allowed is 0 to 1"),
        (
            {"temperature": {"name": "linear"}},
            "schedules.temperature.end=0.0: allowed is 0.001 to 1,000",
        ),
        ({"alpha": {"nme": "linear"}}, "schedules.alpha.nme=linear: allowed are name, end"),
        ({"alpha": {"end": "x"}}, "schedules.alpha.end=x: allowed is a number"),
        ({"alpha": "linear"}, "schedules.alpha=linear: allowed is a mapping"),
    ],
)
def test_what_can_not_be_scheduled_is_said(schedules: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        DistillConfig(losses={"hinton": {}}, schedules=schedules)


def test_a_temperature_that_no_loss_uses_is_not_moved() -> None:
    for moved in (
        DistillConfig(losses={"logit_mse": {}}, learned_temperature=True),
        DistillConfig(losses={"hinton": {"temperature": 2.0}}, learned_temperature=True),
        DistillConfig(losses={"logit_mse": {}}, schedules={"temperature": {"name": "step"}}),
    ):
        with pytest.raises(UserError, match="a loss that uses distill"):
            losses_of(PopulationSpec(config=Config(distill=moved)), Net(), teacher_network())
    with pytest.raises(UserError, match="learned_temperature=True: allowed is false"):
        DistillConfig(
            losses={"hinton": {}},
            learned_temperature=True,
            schedules={"temperature": {"name": "step"}},
        )


def test_members_with_a_learned_temperature_run_as_one_network() -> None:
    student = with_adapters(Net(), {}, None, 8, learned_temperature=True).double()
    assert student(torch.zeros(2, 3, 8, 8).double(), {})[1]["temperature"].tolist() == [[1.0]]
    seed_dropout(student)
    check(student, group(student), (3, 8, 8))  # it raises where they differ


def test_a_configuration_with_schedules_can_be_copied() -> None:
    first = DistillConfig(losses={"hinton": {}}, schedules={"alpha": {"name": "linear"}})
    assert dataclasses.replace(first, alpha=0.1).schedules == first.schedules


@pytest.mark.parametrize("combine", ["probabilities", "losses"])
def test_an_ensemble_of_one_network_twice_is_that_network(combine: str) -> None:
    twice = outputs(2).logits.unsqueeze(2).expand(-1, -1, 2, -1)
    teacher = TeacherConfig(ensemble=2, combine=combine)
    torch.testing.assert_close(loss_at(0.0, {}, teacher=teacher, said=twice), loss_at(0.0, {}))


def test_the_mean_of_losses_is_not_the_loss_of_the_mean() -> None:
    both = torch.stack([outputs(2).logits, outputs(3).logits], dim=2)
    losses, probabilities = (
        loss_at(0.0, {}, teacher=TeacherConfig(ensemble=2, combine=combine), said=both)
        for combine in ("losses", "probabilities")
    )
    alone = [loss_at(0.0, {}, said=one) for one in both.unbind(2)]
    torch.testing.assert_close(losses, (alone[0] + alone[1]) / 2)
    assert (probabilities < losses - 1e-3).all()  # KL is convex in the teacher
