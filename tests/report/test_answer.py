"""The last screen: a sentence, then a map or a list in which what is open is seen to be."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from kdsweep.report.answer import answer
from kdsweep.report.table import print_sweep
from kdsweep.results.data import CellVerdict, Sweep
from tests.report.sweeps import grid_sweep, judged, temperatures

WORDS = ("better", "open", "worse", "equivalent", "open")


def shown(sweep: Sweep, width: int, *, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(
        file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False
    )
    with console.capture() as captured:
        print_sweep(sweep, part=answer, console=console)
    return [line.rstrip() for line in captured.get().splitlines()]


def with_verdicts(sweep: Sweep) -> Sweep:
    cells = tuple(
        replace(cell, verdict=CellVerdict(word=word, difference=i - 2.0, low=-3.0, high=4.0))
        for i, (cell, word) in enumerate(zip(sweep.cells, WORDS, strict=True))
    )
    return replace(sweep, cells=cells, verdict_lines=("It depends.", "More."))


def test_a_map_with_marks() -> None:
    lines = shown(with_verdicts(grid_sweep()), 80)
    assert lines[0] == "It depends."
    assert "More." not in lines
    assert lines[-1] == "▲ better, ▼ worse, ■ equivalent, ○ not decided, * best mean"
    entries = [line.split(None, 2)[2:] for line in lines if line.startswith("alpha")]
    assert "○ (-1.00)" in " ".join(entries[0])
    assert "▲ -2.00" in " ".join(entries[0]) or "▲ -2.00" in " ".join(entries[1])


def test_without_unicode() -> None:
    lines = shown(with_verdicts(grid_sweep()), 80, encoding="ascii")
    assert any("? (-1.00)" in line for line in lines)


def test_a_map_that_does_not_fit_is_a_list() -> None:
    lines = shown(with_verdicts(grid_sweep()), 30)
    assert max(map(len, lines[1:-2])) <= 30
    assert sum("○ (" in line for line in lines) == 2


def test_one_axis_is_a_list() -> None:
    lines = shown(judged(), 80)
    (row,) = [line for line in lines if line.startswith("T=2 *")]
    assert row == "T=2 *  ▲ +1.00  [+0.50, +1.75]"


def test_of_many_cells_the_best_ones() -> None:
    sweep = temperatures()
    cells = tuple(
        replace(sweep.cells[0], label=f"T={i}", accuracy_by_seed={0: 60.0 + i}) for i in range(25)
    )
    lines = shown(replace(sweep, cells=cells), 80)
    assert "and 17 more cells, in the table above" in lines
    assert lines[3].startswith("T=24 *")


@pytest.mark.parametrize("width", [40, 80])
def test_a_caveat_stands_below_the_answer(width: int) -> None:
    lines = shown(replace(judged(), caveat="It means nothing."), width)
    assert "It means nothing." in lines[:4]
