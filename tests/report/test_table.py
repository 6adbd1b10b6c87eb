from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from kdsweep.report.table import print_sweep
from kdsweep.report.words import duration, number
from kdsweep.results.data import Cell, CellVerdict, Sweep
from tests.report.sweeps import grid_sweep, judged, temperatures

NUMBERS = [
    "83.13",
    "72.00 ± 1.00",
    "72.00 ± 1.41",
    "73.00 ± 0.71",
    "74.25",
    "+11.13",
    "-0.50",
    "+1.00",
    "+2.25",
    "-0.88, -0.12",
    "+0.50, +1.75",
    "1/2",
]


def on_terminal(sweep: Sweep, width: int, *, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        color_system="truecolor" if colour else None,
        legacy_windows=False,
    )
    with console.capture() as captured:
        print_sweep(sweep, console=console)
    return captured.get()


def in_file(sweep: Sweep) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_sweep(sweep, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def squeezed(text: str) -> str:
    """The text without line breaks and columns, to look for sentences in it."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 100, 140])
def test_every_number_is_there_and_every_line_fits(width: int) -> None:
    text = on_terminal(judged(), width)
    for expected in NUMBERS:
        assert expected in text
    for expected in ("1m01", "1m02", "0.990"):
        shown = "wider terminal" not in text
        assert (expected in text) or not shown
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    flat = squeezed(text)
    assert "T=3 failed: seed 1: the loss is not finite in epoch 2" in flat
    assert "T=4 pruned: below the median after epoch 1" in flat
    assert "Nothing is told apart with n = 2." in flat
    assert "teacher: 4,664,970 parameters, 17.81 MiB, 111.29 ms" in flat


def test_140_columns_leave_nothing_out() -> None:
    text = on_terminal(judged(), 140)
    assert "wider terminal" not in text
    for expected in ("P(better)", "0.010", "0.990", "time", "1m01", "1m02"):
        assert expected in text


def test_the_header_names_units() -> None:
    header = on_terminal(judged(), 140).splitlines()[2:4]
    assert header[0].split() == ["val_accuracy", "delta", "95", "%"]
    assert squeezed(header[1]) == "mean ± sd, % n points verdict interval P(better) time"


def test_each_row_is_one_line_in_sweep_order_with_the_best_marked() -> None:
    lines = on_terminal(judged(), 140).splitlines()
    labels = [line[:26].strip() for line in lines[5:12]]
    assert labels == [
        "teacher teacher",
        "baseline baseline student",
        "",
        "T=1",
        "T=2 *",
        "T=3",
        "T=4",
    ]
    assert "better" in lines[9]
    assert "failed" in lines[10]


def test_columns_that_nobody_fills_are_not_there() -> None:
    header = " ".join(on_terminal(grid_sweep(), 140).splitlines()[:6])
    for name in ("verdict", "interval", "P(better)", "time"):
        assert name not in header


def test_colours_only_on_a_terminal() -> None:
    assert "\x1b[" in on_terminal(judged(), 100, colour=True)
    assert "\x1b" not in in_file(judged())


def test_a_file_gets_all_columns_and_no_blanks_at_line_ends() -> None:
    long = replace(judged().cells[0], label="distill.losses.hinton.weight=0.25 " * 5)
    text = in_file(replace(judged(), cells=(long, *judged().cells[1:])))
    for expected in [*NUMBERS, "0.990", "1m01", long.label.strip()]:
        assert expected in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_a_stream_without_unicode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_sweep(judged(), console=Console(file=stream, width=80))
    stream.flush()
    assert b"72.00 +- 1.41" in raw.getvalue()


@pytest.mark.parametrize("width", [30, 44])
def test_a_narrow_terminal_gets_paragraphs(width: int) -> None:
    text = on_terminal(judged(), width)
    assert max(len(line) for line in text.splitlines()) <= width
    flat = squeezed(text)
    assert "T=2 * 73.00 ± 0.71 %, n 2, delta +1.00 points, 95 % interval +0.50, +1.75" in flat
    for expected in NUMBERS:
        assert expected in flat


def test_long_labels_fold_and_stay_whole() -> None:
    label = "distill.temperature=4,distill.alpha=0.7,train.optimizer.lr=0.001"
    sweep = judged()
    text = on_terminal(replace(sweep, cells=(replace(sweep.cells[0], label=label),)), 80)
    folded = "".join(re.split(r"\s{2,}", line)[0] for line in text.splitlines())
    assert label in folded
    start = next(i for i, line in enumerate(text.splitlines()) if line.startswith("distill."))
    assert len(text.splitlines()[start].split("  ")[0]) >= 24  # not squeezed for more columns
    assert max(len(line) for line in text.splitlines()) <= 80


def test_labels_are_not_markup() -> None:
    sweep = temperatures()
    hostile = replace(sweep.cells[0], label="m=[5,10] [red]x[/red] :smile:", reason=None)
    verdict = "[bold]kept[/bold]"
    text = on_terminal(
        replace(sweep, cells=(hostile,), verdict_lines=(verdict,)), 140, colour=True
    )
    assert hostile.label in text
    assert verdict in text


def test_the_map_of_two_axes() -> None:
    lines = on_terminal(grid_sweep(), 80).splitlines()
    at = lines.index(next(line for line in lines if line.startswith("Delta, points")))
    table = [line.split() for line in lines[at + 1 : at + 5]]
    assert table[0] == ["temperature", "1", "2", "4"]
    assert table[2] == ["alpha", "0.25", "+0.25", "+0.75*"]
    assert table[3] == ["alpha", "0.5", "-0.25", "+0.00", "+0.50"]


def test_125_cells_have_a_line_each() -> None:
    cells = tuple(
        Cell(
            label=f"T={t} alpha={a / 10}",
            values={"t": t, "a": a},
            accuracy_by_seed={s: 70 + t + a / 10 + s for s in range(5)},
            verdict=CellVerdict(word="open", difference=t, low=t - 1, high=t + 1),
        )
        for t in range(25)
        for a in range(5)
    )
    text = on_terminal(replace(temperatures(), cells=cells), 80)
    rows = [line for line in text.splitlines() if line.startswith("T=")]
    assert len(rows) == 125
    assert all("open" in row for row in rows)


def test_a_sweep_of_nothing_but_failures() -> None:
    sweep = temperatures()
    same = "no such file"
    cells = tuple(
        replace(c, state="failed", reason=same, accuracy_by_seed={}) for c in sweep.cells
    )
    text = squeezed(on_terminal(replace(sweep, cells=cells, teacher=None, baseline=None), 80))
    assert f"T=1, T=2, T=3, T=4 failed: {same}" in text
    assert "*" not in text


def test_numbers_and_durations() -> None:
    assert number(None, 2) == number(math.nan, 2) == ""
    assert number(1.005, 1, signed=True) == "+1.0"
    assert [duration(s) for s in (None, 0.26, 42.4, 59.7, 185, 3720)] == [
        "",
        "0.3 s",
        "42 s",
        "1m00",
        "3m05",
        "1h02",
    ]
