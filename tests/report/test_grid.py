from __future__ import annotations

from dataclasses import replace

import pytest

from kdsweep.report.grid import grid, shown_average, shown_place
from kdsweep.report.map import difference_map
from kdsweep.results.data import CellVerdict, Sweep
from tests.report.sweeps import grid_sweep

OPEN = CellVerdict(word="open", difference=0.5, low=-0.25, high=1.25)
BETTER = CellVerdict(word="better", difference=0.75, low=0.25, high=1.25)


def decided() -> Sweep:
    """The map with one cell decided and the others open, and its columns' averages."""
    sweep = grid_sweep()
    best, *rest = sweep.cells
    for cell in sweep.cells:
        if cell.label == "T=4 alpha=0.25":
            best = cell
    rest = [cell for cell in sweep.cells if cell is not best]
    cells = (replace(best, verdict=BETTER), *(replace(cell, verdict=OPEN) for cell in rest))
    averages = {"temperature 4": BETTER, "all 5 cells": OPEN}
    return replace(sweep, cells=cells, averages=averages)


def test_it_is_sorted_and_knows_its_gaps() -> None:
    found = grid(grid_sweep())
    assert found is not None
    assert (found.x_key, found.y_key) == ("distill.temperature", "distill.alpha")
    assert (found.x, found.y) == ((1.0, 2.0, 4.0), (0.25, 0.5))
    assert [[p.difference for p in row] for row in found.places] == [
        [None, 0.25, 0.75],
        [-0.25, 0.0, 0.5],
    ]
    assert [[p.n for p in row] for row in found.places] == [[0, 2, 2], [2, 2, 2]]
    assert [p.state for p in found.places[0]] == ["", "complete", "complete"]
    assert [(i, j) for i in range(2) for j in range(3) if found.places[i][j].best] == [(0, 2)]
    assert found.scale == 0.75


def test_verdicts_of_rows_columns_and_the_whole_stand_at_the_edges() -> None:
    sweep = decided()
    found = grid(sweep)
    assert found is not None
    assert found.x_averages == (None, None, BETTER)
    assert found.y_averages == (None, None)
    assert found.whole == OPEN
    shown = shown_average(sweep, found, BETTER, "mean of temperature=4")
    assert (shown.kind, shown.main, shown.interval) == ("better", "▲ +0.75", "+0.2…+1.2")
    assert shown_average(sweep, found, None, "").kind == "none"


def test_what_is_not_decided_is_shown_otherwise_than_what_is() -> None:
    sweep = decided()
    found = grid(sweep)
    assert found is not None
    shown = [shown_place(sweep, found, place) for row in found.places for place in row]
    assert [one.kind for one in shown] == ["none", "open", "better", "open", "open", "open"]
    assert shown[2].best
    assert shown[1].main == "○ +0.50"
    assert shown[1].detail.endswith(
        "not decided: +0.50 points, 95 % interval -0.25 to +1.25, n = 2"
    )


def test_cells_without_a_verdict_are_not_coloured_as_if_they_had_one() -> None:
    sweep = grid_sweep()
    found = grid(sweep)
    assert found is not None
    kinds = {shown_place(sweep, found, place).kind for row in found.places for place in row}
    assert kinds == {"open", "none"}


def test_what_failed_says_so() -> None:
    sweep = grid_sweep()
    failed = replace(sweep.cells[0], state="failed", accuracy_by_seed={})
    sweep = replace(sweep, cells=(failed, *sweep.cells[1:]))
    found = grid(sweep)
    assert found is not None
    shown = shown_place(sweep, found, found.places[1][2])
    assert (shown.kind, shown.main) == ("unfinished", "failed")


def test_its_csv_has_a_line_for_each_place() -> None:
    sweep = decided()
    found = difference_map(sweep)
    assert found is not None
    lines = found.to_csv().splitlines()
    assert len(lines) == 7
    assert lines[3] == "0.25,4.0,0.75,0.25,1.25,better,2,complete"
    assert lines[1] == "0.25,1.0,,,,,0,"


def test_a_long_first_axis_goes_down() -> None:
    sweep = grid_sweep()
    cell = sweep.cells[0]
    cells = tuple(
        replace(cell, values={"distill.temperature": t, "distill.alpha": a})
        for t in range(1, 12)
        for a in (0.1, 0.9)
    )
    found = grid(replace(sweep, cells=cells))
    assert found is not None
    assert (found.x_key, len(found.y)) == ("distill.alpha", 11)


def test_the_complete_of_two_cells_in_one_place() -> None:
    sweep = grid_sweep()
    failed = replace(sweep.cells[0], state="failed")
    found = grid(replace(sweep, cells=(failed, *sweep.cells)))
    assert found is not None
    assert "failed" not in [place.state for place in found.places[1]]


@pytest.mark.parametrize("case", ["one axis", "three axes", "words", "sparse", "no baseline"])
def test_no_map(case: str) -> None:
    sweep = grid_sweep()
    cells = list(sweep.cells)
    if case == "one axis":
        cells = [c for c in cells if c.values["distill.alpha"] == 0.5]
    elif case == "three axes":
        cells[0] = replace(cells[0], values={**cells[0].values, "seeds": 3})
    elif case == "words":
        cells = [
            replace(c, values={**c.values, "distill.alpha": f"a{c.values['distill.alpha']}"})
            for c in cells
        ]
    elif case == "sparse":
        cells = [replace(cells[0], values={"a": i, "b": i}) for i in range(5)]
    baseline = None if case == "no baseline" else sweep.baseline
    assert grid(replace(sweep, cells=tuple(cells), baseline=baseline)) is None
