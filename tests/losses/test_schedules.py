from __future__ import annotations

import pytest
import torch

from kdsweep.config.schedules import HyperSchedule
from kdsweep.errors import UserError
from kdsweep.losses.schedules import scheduled
from tests.losses.toy import f64

VALUE = f64([4.0, 2.0])


def at(schedule: HyperSchedule, *epochs: float) -> list[list[float]]:
    return [scheduled(VALUE, schedule, epoch, 10).tolist() for epoch in epochs]


def test_constant_is_the_value_itself():
    assert scheduled(VALUE, HyperSchedule(), 3.3, 10) is VALUE


def test_linear_from_the_value_to_the_end():
    assert at(HyperSchedule(name="linear", end=1), 0, 5, 10) == [[4, 2], [2.5, 1.5], [1, 1]]
    part = HyperSchedule(name="linear", end=0, start_epoch=2, stop_epoch=6)
    assert at(part, 0, 2, 3, 6, 9) == [[4, 2], [4, 2], [3, 1.5], [0, 0], [0, 0]]


def test_cosine_is_flat_at_both_ends_and_half_way_in_the_middle():
    schedule = HyperSchedule(name="cosine", end=1)
    start, quarter, middle, end = at(schedule, 0, 2.5, 5, 10)
    assert start == [4, 2]
    assert quarter == pytest.approx([1 + 3 * 0.8535533905932737, 1 + 0.8535533905932737])
    assert middle == pytest.approx([2.5, 1.5])
    assert end == pytest.approx([1, 1])


def test_step_multiplies_after_whole_steps():
    schedule = HyperSchedule(name="step", gamma=0.5, step_size=2, start_epoch=1)
    factors = [row[0] / 4 for row in at(schedule, 0, 1, 2.9, 3, 4.9, 5)]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.25]


def test_stop_ends_distillation_at_its_epoch():
    schedule = HyperSchedule(name="stop", stop_epoch=6)
    assert at(schedule, 0, 5.99, 6, 9) == [[4, 2], [4, 2], [0, 0], [0, 0]]
    assert at(HyperSchedule(name="stop", stop_epoch=6, end=1), 6) == [[1, 1]]


def test_a_schedule_that_starts_after_training_changes_nothing():
    late = HyperSchedule(name="linear", end=0, start_epoch=20)
    assert at(late, 0, 10) == [[4, 2], [4, 2]]


def test_members_keep_their_own_values_and_gradients():
    value = torch.tensor([4.0, 2.0], requires_grad=True)
    out = scheduled(value, HyperSchedule(name="linear", end=1), 5, 10)
    (grad,) = torch.autograd.grad(out.sum(), value)
    assert grad.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "cosin"}, r"name=cosin: allowed is one of constant, linear, cosine, step, stop"),
        ({"end": -1}, r"end=-1: allowed is 0 or more"),
        ({"end": float("nan")}, r"end=nan"),
        ({"start_epoch": -1}, r"start_epoch=-1"),
        ({"name": "stop"}, r"stop_epoch=None: allowed is an epoch"),
        ({"name": "linear", "start_epoch": 5, "stop_epoch": 5}, r"stop_epoch=5.*start_epoch=5"),
        ({"gamma": 0}, r"gamma=0"),
        ({"step_size": 0}, r"step_size=0"),
    ],
)
def test_mistakes_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        HyperSchedule(**given)


def test_a_schedule_must_stay_in_its_hyperparameters_range():
    for name in ("temperature", "hinton.temperature"):
        with pytest.raises(UserError, match=r"end=0\.0: allowed is 0.001 to 1,000 for"):
            HyperSchedule(name="linear").check(name)
    HyperSchedule(name="step").check("temperature")
    HyperSchedule(name="linear", end=1).check("alpha")
    with pytest.raises(UserError, match="0 to 1 for alpha"):
        HyperSchedule(name="linear", end=1.5).check("alpha")
    with pytest.raises(UserError, match="up to 1 for alpha"):
        HyperSchedule(name="step", gamma=2).check("alpha")
    HyperSchedule(name="linear", end=5).check("dkd.weight")
