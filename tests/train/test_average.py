"""The moving average of a student's weights, in whose place it is judged and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from kdsweep.config import Config
from kdsweep.data.device import EvaluationImages
from kdsweep.hardware.choose import Hardware
from kdsweep.teachers.live import LiveTeacher
from kdsweep.train.batch import StoredImages
from kdsweep.train.chunk import Chunk
from kdsweep.train.criterion import Total
from tests.train.setting import (
    BATCH,
    GROUPED,
    ONE_BY_ONE,
    Net,
    Quiet,
    Setting,
    a_population,
    assert_same,
)

EMA = 0.7


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting()


class Recording(StoredImages):
    """Remembers the state of the only member after each step."""

    def __init__(self, setting: Setting) -> None:
        teacher = LiveTeacher(setting.teacher.double(), ONE_BY_ONE, ())
        super().__init__(setting.views, setting.labels, teacher, batch_size=BATCH)
        self.states: list[dict[str, Tensor]] = []

    def after_step(self, chunks: Sequence[Chunk], batch_size: int, step: int) -> None:
        super().after_step(chunks, batch_size, step)
        named = chunks[0].state.items()
        self.states.append({k.removeprefix("model."): v.detach().clone() for k, v in named})


def by_hand(states: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """The mean over all steps, each with decay to the power of its age as its weight."""
    last = len(states) - 1
    weights = [decay ** (last - i) for i in range(len(states))]
    return {
        name: sum(w * s[name] for w, s in zip(weights, states, strict=True)) / sum(weights)
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    }


def logits_of(state: dict[str, Tensor], evaluation: EvaluationImages) -> Tensor:
    model = Net().double()
    model.load_state_dict(state)
    with torch.no_grad():
        logits: Tensor = model.eval()(evaluation.normalise(evaluation.images))
    return logits


def test_weights_logits_and_curve_are_those_of_the_average(setting: Setting) -> None:
    (member,) = a_population(1)
    recording = Recording(setting)
    plain = setting.train([member], source=recording)[member.name]
    averaged = setting.train([member], ema=EMA)[member.name]
    expected = by_hand(recording.states, EMA)
    assert averaged.state.keys() == expected.keys()
    for name, value in averaged.state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12)
    logits = logits_of(expected, setting.evaluation)
    torch.testing.assert_close(averaged.logits, logits, rtol=1e-9, atol=1e-9)
    nll = torch.nn.functional.cross_entropy(logits, setting.evaluation.labels)
    assert averaged.history[-1]["val_nll"] == pytest.approx(float(nll), abs=1e-9)
    losses = [[row["train_loss"] for row in one.history] for one in (plain, averaged)]
    assert losses[0] == losses[1]  # what is trained is the same, bit for bit


def test_without_it_the_last_weights_are_kept(setting: Setting) -> None:
    (member,) = a_population(1)
    recording = Recording(setting)
    trained = setting.train([member], source=recording)[member.name]
    for name, value in trained.state.items():
        assert torch.equal(value, recording.states[-1][name])
    assert setting.population([member]).averages == []


@pytest.mark.parametrize("hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"])
def test_an_average_does_not_depend_on_companions(setting: Setting, hardware: Hardware) -> None:
    members = a_population(5)
    fused = setting.train(members, hardware, ema=EMA)
    for member in (members[0], members[3]):
        assert_same(setting.train([member], ema=EMA)[member.name], fused[member.name])


def test_those_that_stay_keep_their_own_average(setting: Setting) -> None:
    members = a_population(3)
    observer = Quiet({"m0": "enough"})
    fused = setting.train(members, GROUPED, observer=observer, ema=EMA)
    assert fused["m0"].status == "dropped"
    assert_same(setting.train([members[2]], ema=EMA)["m2"], fused["m2"])


class OutOfMemory(Total):
    """Of memory that four members exhaust in the second step of the second epoch."""

    calls = 0

    def __call__(self, chunk: Chunk, *given: Any, **named: Any) -> Tensor:
        self.calls += 1
        if self.calls == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().__call__(chunk, *given, **named)


def test_an_epoch_that_is_repeated_counts_once(setting: Setting) -> None:
    members = a_population(4)
    expected = setting.train(members, GROUPED, ema=EMA)
    short = OutOfMemory(setting.losses, setting.labels, Config())
    again = setting.train(members, GROUPED, ema=EMA, criterion=short)
    for name, trained in expected.items():
        assert_same(trained, again[name])
