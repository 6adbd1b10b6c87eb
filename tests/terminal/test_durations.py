from __future__ import annotations

import pytest

from kdsweep.terminal.durations import Estimate, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (17, "17 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3780, "1 h 3 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_starts_up_is_not_counted() -> None:
    """The first epoch of 20 takes 30 s, each of the others one: 18 are left after the second."""
    estimate = Estimate(epochs=20)
    estimate.step(30.0, 10, 200)
    assert estimate.left(30.0) is None
    estimate.step(31.0, 20, 200)
    assert estimate.left(31.0) == pytest.approx(18.0)
    assert estimate.left(33.0) == pytest.approx(16.0), "it runs on between two reports"
    assert estimate.pace == pytest.approx(20.0)


def test_a_training_of_few_epochs_is_warm_after_a_tenth() -> None:
    estimate = Estimate(epochs=2)
    estimate.step(8.0, 9, 100)
    estimate.step(10.0, 10, 100)
    assert estimate.pace is None
    estimate.step(12.0, 30, 100)
    assert estimate.left(12.0) == pytest.approx(7.0)


def test_it_never_takes_less_than_nothing() -> None:
    estimate = Estimate(epochs=10)
    estimate.step(1.0, 1, 10)
    estimate.step(2.0, 9, 10)
    assert estimate.left(50.0) == 0.0
