"""The live display on a terminal's screen: what is drawn, what stays, what a resize leaves."""

from __future__ import annotations

import logging
import sys

import pytest
from rich.console import Console

from kdsweep.terminal.display import Display, display_here
from kdsweep.terminal.live import Above, wrapped
from kdsweep.terminal.progress import Progress
from kdsweep.terminal.screen import Standing
from tests.terminal.emulator import Terminal

AT = Standing(study="s", cells=4, round=1, rounds=2, trained=5, most=20)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def on(terminal: Terminal, clock: Clock) -> Display:
    width = terminal.screen.columns
    console = Console(file=terminal, force_terminal=True, width=width, height=12, _environ={})
    return Display(console, clock=clock, refreshing=False)


def student(display: Display, *, members: int = 5, counts: bool = True) -> Progress:
    return Progress(
        "student x 5",
        display,
        epochs=10,
        metric="val_accuracy",
        members=members,
        images=200,
        counts=counts,
    )


def test_a_training_from_its_beginning_to_its_end() -> None:
    terminal, clock = Terminal(80), Clock()
    with on(terminal, clock) as display:
        display.show(AT)
        with student(display) as progress:
            clock.now = 30.0
            progress.step(10, 100)  # the first epoch, with all that starts up
            display.refresh()
            assert terminal.shown == [
                "study s: round 1 of 2, 5 of at most 20 trainings",
                "cells: 0 decided, 4 open, 0 dropped undecided",
                "student x 5",
                "━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 10%, 30 s so far; time left: known after the first epoch",
            ]
            clock.now = 32.0
            progress.step(20, 100)
            progress.epoch(1, {f"m{i}": {"val_accuracy": i, "train_loss": 1.0} for i in range(5)})
            display.refresh()
            assert terminal.shown[2:] == [
                "student x 5: epoch 2/10, loss 1.0000, val_accuracy 2.00 (0.00 to 4.00) %",
                "━━━╌╌╌╌╌╌╌╌╌╌╌╌ 20%, 32 s so far, about 16 s left; the sweep: at most 56 s left",
            ]
        display.refresh()
        assert terminal.shown[0] == "study s: round 1 of 2, 10 of at most 20 trainings"
    assert terminal.shown == []
    assert not terminal.screen.cursor.hidden


def test_a_teacher_is_none_of_the_sweeps_trainings() -> None:
    terminal, clock = Terminal(80), Clock()
    with on(terminal, clock) as display:
        display.show(AT)
        with student(display, members=1, counts=False) as progress:
            for now, done in ((1.0, 10), (2.0, 20)):
                clock.now = now
                progress.step(done, 100)
            display.refresh()
            assert "sweep" not in terminal.shown[-1]
        display.refresh()
        assert "5 of at most 20" in terminal.shown[0]


def test_two_trainings_at_once() -> None:
    terminal, clock = Terminal(80), Clock()
    with on(terminal, clock) as display:
        display.show(AT)
        with student(display) as one, student(display) as two:
            for now, done in ((1.0, 10), (2.0, 20)):
                clock.now = now
                one.step(done, 100)
                two.step(done // 2, 100)
            display.refresh()
            assert len(terminal.shown) == 6
            assert "sweep" not in terminal.shown[-1], "the second is not warm yet"
            clock.now = 4.0
            two.step(20, 100)
            clock.now = 5.0
            two.step(30, 100)
            display.refresh()
            assert terminal.shown[-1].endswith("the sweep: at most 18 s left")
            display.show(AT)
        assert display.standing is not None
        assert display.standing.trained == 15
        display.show(AT)
        assert display.standing.trained == 15, "some may have no record yet"


def test_a_training_that_is_interrupted_is_not_counted() -> None:
    terminal, clock = Terminal(80), Clock()
    with on(terminal, clock) as display:
        display.show(AT)
        one = student(display)
        one.__enter__()
        one.step(30, 100)
        one.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert display.standing is not None
        assert display.standing.trained == AT.trained


def test_what_is_printed_and_logged_goes_above(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(60), Clock()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    handler = logging.StreamHandler(terminal)
    log = logging.getLogger("kdsweep.test_display")
    log.addHandler(handler)
    try:
        with Display(clock=clock, refreshing=False) as display:
            assert display_here() is display
            with display_here():  # a job of another launcher
                assert isinstance(sys.stdout, Above)
                display.show(AT)
                print("printed")
                log.warning("logged")
                print("half", end="")
                sys.stderr.write("complained\n")
                assert terminal.shown == [
                    "printed",
                    "logged",
                    "complained",
                    "study s: round 1 of 2, 5 of at most 20 trainings",
                    "cells: 0 decided, 4 open, 0 dropped undecided",
                ]
            print(" and half")
        assert sys.stdout is terminal
        assert handler.stream is terminal
    finally:
        log.removeHandler(handler)
    assert terminal.shown == ["printed", "logged", "complained", "half and half"]


@pytest.mark.parametrize("columns", [40, 120])
def test_a_resize_leaves_no_stale_line(columns: int) -> None:
    terminal, clock = Terminal(80), Clock()
    with on(terminal, clock) as display:
        display.show(AT)
        display.refresh()
        terminal.resize(columns)
        assert display.console is not None
        display.console.width = columns
        display.refresh()
        assert len(terminal.shown) == 2
        assert terminal.shown[1].startswith("cells: 0 decided, 4 open, 0 dropped")
    assert terminal.shown == []


def test_a_low_terminal_keeps_what_changes() -> None:
    terminal, clock = Terminal(80, rows=3), Clock()
    with on(terminal, clock) as display:
        assert display.console is not None
        display.console.height = 3
        display.show(AT)
        with student(display):
            display.refresh()
            assert [line[:9] for line in terminal.shown] == ["student x", "╌╌╌╌╌╌╌╌╌"]


def test_sentences_wrap_at_words_and_commands_stay_whole() -> None:
    assert wrapped("aaa bbb ccc", 8) == "aaa bbb\n  ccc"
    assert wrapped("  python -m kdsweep", 8) == "  python -m kdsweep"
    assert wrapped("\x1b[1maaa bbb ccc", 8) == "\x1b[1maaa bbb ccc"


def test_no_terminal_no_drawing(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        assert not display.is_drawn
        display.show(AT)
        display.refresh()
    assert capsys.readouterr().out == ""


def test_an_error_leaves_the_terminal_clean() -> None:
    terminal = Terminal(80)

    def interrupted() -> None:
        with on(terminal, Clock()) as display:
            display.show(AT)
            display.refresh()
            assert len(terminal.shown) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.shown == []
    assert not terminal.screen.cursor.hidden
