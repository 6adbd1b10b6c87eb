"""Hyperparameters move within an epoch, step by step, not from one epoch to the next."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdsweep.config import Config, DistillConfig, TrainConfig
from kdsweep.losses import Outputs
from kdsweep.train.criterion import Total
from kdsweep.train.population import Member
from tests.train.setting import CLASSES, SIZE, Setting

EPOCHS = 4
START = {"temperature": 2.0, "alpha": 0.2, "hinton.weight": 1.0}


def loss(epoch: float, schedules: dict[str, object], **hyper: float) -> Tensor:
    """What a member loses at ``epoch`` with ``START``'s numbers but for ``hyper``'s."""
    setting = Setting()
    member = Member(name="m", seed=3, hyper={**START, **hyper})
    (chunk,) = setting.population([member]).chunks(1, (3, SIZE, SIZE))
    config = Config(
        train=TrainConfig(epochs=EPOCHS),
        distill=DistillConfig(losses={"hinton": {}}, schedules=schedules),
    )
    draw = torch.Generator().manual_seed(5)
    student, teacher = (
        Outputs(logits=torch.randn(1, 6, CLASSES, generator=draw, dtype=torch.float64))
        for _ in range(2)
    )
    labels = torch.arange(6)[None] % CLASSES
    criterion = Total(setting.losses, setting.labels, config)
    return criterion(
        chunk, student, teacher, labels, epoch=epoch, index=torch.arange(6)[None], mixup=None
    )


@pytest.mark.parametrize("epoch", [0.0, 0.5, 1.75, 3.999])
@pytest.mark.parametrize(
    ("name", "key", "end"),
    [("alpha", "alpha", 1.0), ("temperature", "temperature", 6.0), ("hinton", "hinton.weight", 3)],
)
def test_a_schedule_moves_within_an_epoch(name: str, key: str, end: float, epoch: float) -> None:
    moved = loss(epoch, {name: {"name": "linear", "end": end}})
    value = START[key] + (end - START[key]) * epoch / EPOCHS
    torch.testing.assert_close(moved, loss(epoch, {}, **{key: value}), rtol=1e-12, atol=0)
    assert torch.isclose(moved, loss(epoch, {})) == (epoch == 0)
