from __future__ import annotations

import logging

import pytest

from kdsweep.terminal.display import Display
from kdsweep.terminal.progress import Progress

METRIC = "val_accuracy"


def records(*scores: float) -> dict[str, dict[str, float]]:
    return {f"m{score:g}": {"val_accuracy": score, "train_loss": 1.0} for score in scores}


def test_an_epoch_is_told_once_all_members_have_reported_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with Progress(
        "student x 3", Display(), epochs=2, metric="val_accuracy", members=3
    ) as progress:
        progress.epoch(0, records(10.0, 20.0))
        assert caplog.messages == []
        progress.epoch(1, records(50.0, 60.0))  # a faster process is ahead
        assert caplog.messages == []
        progress.epoch(0, records(30.0))
        assert caplog.messages[0].startswith(
            "student x 3: epoch 1/2, loss 1.0000, val_accuracy 20.00 (10.00 to 30.00) %"
        )
        progress.epoch(1, records(70.0))
    assert (
        "epoch 2/2, loss 1.0000, val_accuracy 60.00 (50.00 to 70.00) % in" in caplog.messages[-1]
    )
    assert len(caplog.messages) == 2


def test_members_that_left_are_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Progress(
        "student x 2", Display(), epochs=3, metric="val_accuracy", members=2
    ) as progress:
        progress.epoch(0, records(10.0, 20.0))
        progress.leave(["m10"], 0)
        progress.epoch(1, records(25.0))
        progress.epoch(2, records(35.0))
    assert "epoch 3/3, loss 1.0000, val_accuracy 35.00 % in" in caplog.messages[-1]


def test_a_plain_line_says_what_its_times_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    with Progress(
        "student", Display(clock=lambda: now[0]), epochs=10, metric="val_accuracy"
    ) as progress:
        for epoch, seconds in enumerate((30.0, 33.0)):
            now[0] = seconds
            progress.step(10 * (epoch + 1), 100)
            progress.epoch(epoch, records(10.0))
    first, second, _ = caplog.messages
    assert first.endswith("val_accuracy 10.00 %; 30 s so far")
    assert second.endswith("val_accuracy 10.00 %; 33 s so far, about 24 s left")
