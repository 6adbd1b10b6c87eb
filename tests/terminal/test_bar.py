from __future__ import annotations

import io

import pytest
from rich.console import Console

from kdsweep.terminal.bar import Bar, fitted, lines
from kdsweep.terminal.durations import duration, times

TITLE = "student cifar_student x 3"
TEXTS = (
    "epoch 12/50, loss 2.2922, val_accuracy 13.43 (10.07 to 17.71) %",
    "epoch 12/50, val_accuracy 13.43 (10.07 to 17.71) %",
    "epoch 12/50, val_accuracy 13.43 %",
    "epoch 12/50",
)


def shown(width: int, *, done: int = 300) -> str:
    """The last line that a terminal of so many columns shows."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bar = Bar(TITLE, console)
    bar.update(TEXTS, 137.0, done=done, total=1000)
    bar.stop()
    page = Console(file=io.StringIO(), width=width, color_system=None)
    with page.capture() as capture:
        page.print(bar.rich.get_renderable())
    (line,) = capture.get().splitlines()
    return line.rstrip()


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (60, "epoch 12/50, val_accuracy 13.43 %, 5 min 20 s left"),
        (80, "epoch 12/50, val_accuracy 13.43 (10.07 to 17.71) %, 5 min 20 s left"),
        (100, f"{TITLE}: {TEXTS[2]}, 2 min 17 s, 5 min 20 s left"),
        (140, f"{TITLE}: {TEXTS[0]}, 2 min 17 s, 5 min 20 s left"),
    ],
)
def test_numbers_are_whole_at_every_width(width: int, expected: str) -> None:
    line = shown(width)
    assert len(line) <= width
    assert "…" not in line
    assert expected in line, line


def test_the_bar_takes_the_room_that_is_left() -> None:
    assert "━" not in shown(60)
    assert shown(140).count("━") < shown(170).count("━")


def test_while_nothing_is_known_nothing_is_told() -> None:
    assert "left" not in shown(100, done=0)
    assert times(2.2, 0, 1) == "2 s"
    assert times(17.0, 17, 43) == "17 s, 26 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (17, "17 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3780, "1 h 3 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_first_that_fits() -> None:
    assert fitted(["abcdef", "abc", "a"], 4) == "abc"
    assert fitted(["abcdef", "abc"], 2) == "ab"
    assert lines("t", ["x"], 1.0, done=0, total=1) == ["t: x, 1 s", "x"]
    assert lines("t", ["xy", "x"], 1.0, done=1, total=3) == [
        "t: xy, 1 s, 2 s left", "xy, 1 s, 2 s left", "xy, 2 s left", "t: x, 1 s, 2 s left", "x"
    ]  # fmt: skip
