from __future__ import annotations

from dataclasses import replace

import pytest

from kdsweep.terminal.screen import Best, Now, Standing, fitted, screen

NARROW = len("11 decided, 10 open, 4 dropped")

AT = Standing(
    study="temperature-alpha-ac57a882",
    cells=25,
    decided=11,
    dropped=4,
    round=2,
    rounds=4,
    trained=112,
    most=342,
    best=Best(
        label="temperature=4 alpha=0.9",
        value="+1.64",
        interval="[+0.70, +2.58] points",
        verdict="better",
    ),
)
NOW = Now(
    title="student cifar_student x 12",
    texts=(
        "epoch 12/50, loss 2.2922, val_accuracy 13.43 (10.07 to 17.71) %",
        "epoch 12/50, val_accuracy 13.43 (10.07 to 17.71) %",
        "epoch 12/50, val_accuracy 13.43 %",
        "epoch 12/50",
    ),
    so_far=137.0,
    fraction=0.25,
    left=320.0,
    sweep_left=5400.0,
    speed="3,400 images/s",
)


def test_80_columns() -> None:
    assert screen(AT, [NOW], 79) == [
        "study temperature-alpha-ac57a882: round 2 of 4, 112 of at most 342 trainings",
        "cells: 11 decided, 10 open, 4 dropped undecided",
        "best so far: temperature=4 alpha=0.9: +1.64 [+0.70, +2.58] points, better",
        "student cifar_student x 12: epoch 12/50, val_accuracy 13.43 (10.07 to 17.71) %",
        "━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 25%, about 5 min 20 s left; the sweep: at most 1 h 30 min left",
    ]


def test_wider_terminals_show_more() -> None:
    *_, now, times = screen(AT, [NOW], 120)
    assert now.endswith("epoch 12/50, loss 2.2922, val_accuracy 13.43 (10.07 to 17.71) %")
    assert times.endswith(
        "25%, 2 min 17 s so far, about 5 min 20 s left; the sweep: at most 1 h 30 min left; "
        "3,400 images/s"
    )


@pytest.mark.parametrize("width", range(22, 130))
def test_every_line_fits_with_its_numbers_whole(width: int) -> None:
    lines = screen(AT, [NOW], width)
    assert len(lines) == 5
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    for number in ("112", "11 decided", "+1.64"):
        assert any(number in line for line in lines) or width < NARROW
    assert "5 min 20 s left" in lines[-1]


def test_a_time_says_what_it_is_the_time_of() -> None:
    early = replace(NOW, left=None, sweep_left=None, speed="")
    (_, line) = screen(None, [early], 79)
    assert line.endswith("25%, 2 min 17 s so far; time left: known after the first epoch")
    (_, line) = screen(None, [replace(NOW, sweep_left=None)], 60)
    assert line.endswith(" 25%, 2 min 17 s so far, about 5 min 20 s left")


def test_cells_that_do_not_race() -> None:
    at = Standing(
        study="s",
        cells=5,
        complete=2,
        trained=3,
        most=6,
        fixed=True,
        best=Best(label="temperature=1", value="val_accuracy 46.88", interval="%, one seed"),
    )
    assert screen(at, [], 79) == [
        "study s: 3 of 6 trainings",
        "cells: 2 of 5 trained",
        "best so far: temperature=1: val_accuracy 46.88 %, one seed",
    ]


def test_a_phase_without_a_known_end() -> None:
    assert screen(None, [Now(title="writes the report", so_far=4.2)], 79) == [
        "writes the report",
        "4 s so far",
    ]


def test_ascii() -> None:
    line = screen(None, [NOW], 79, plain=True)[-1]
    assert line.isascii()
    assert line.startswith("####--")


def test_the_first_that_fits() -> None:
    assert fitted(["abcdef", "abc", "a"], 4) == "abc"
    assert fitted(["abcdef", "abc"], 2) == "ab"


def test_trainings_at_the_same_time() -> None:
    lines = screen(AT, [replace(NOW, title=f"student x {i}") for i in range(5)], 79)
    assert lines[3] == "2 more trainings at the same time"
    assert [line.split(":")[0] for line in lines[4::2]] == [f"student x {i}" for i in (2, 3, 4)]
