"""Which cells are confirmed, and on which seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from kdsweep.confirm.selection import Selection, Side, choose
from kdsweep.errors import UserError
from kdsweep.results.cells import read_records
from kdsweep.results.record import Record, write_record
from tests.results.made import FIRST, record

BASE = (70.0, 71.0)


def put(folder: Path, records: Sequence[Record]) -> None:
    for made in records:
        write_record(folder / str(made.trial), made)


def chosen(folder: Path, side: Side = "best", top: int = 2) -> list[int]:
    made = choose("s", folder, top=top, side=side, seeds=3, known=None)
    return [finalist.trial for finalist in made.finalists]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five cells: trial 3 is the best, and trial 1, of which a seed failed, is out."""
    means = {0: 70.0, 1: 90.0, 2: 69.0, 3: 75.0, 4: 72.0}
    put(tmp_path, [record(trial, [m - 1, m + 1], BASE) for trial, m in means.items()])
    put(tmp_path, [record(1, [90.0, math.nan], BASE)])
    return tmp_path


@pytest.mark.parametrize(
    ("side", "trials"), [("best", [3, 4]), ("worst", [2, 0]), ("both", [3, 4, 2, 0])]
)
def test_the_cells_of_each_side(folder: Path, side: Side, trials: list[int]) -> None:
    assert chosen(folder, side) == trials


def test_no_cell_is_on_both_sides(folder: Path) -> None:
    assert chosen(folder, "both", top=3) == [3, 4, 0, 2]
    assert chosen(folder, "both", top=9) == [3, 4, 0, 2]


@pytest.mark.parametrize(
    ("objective", "trials"),
    [
        ("nll", [2, 0]),
        (["ece", "accuracy"], [2, 0]),
        ("delta_vs_baseline", [3, 4]),
        ("top5_accuracy", [3, 4]),
        (["accuracy", "latency_ms"], [3, 4]),
    ],
)
def test_the_best_is_by_the_first_objective_in_its_direction(
    folder: Path, objective: object, trials: list[int]
) -> None:
    for made in read_records(folder):
        config = {**made.config, "objective": objective}
        write_record(folder / str(made.trial), dataclasses.replace(made, config=config))
    assert chosen(folder) == trials


def test_a_cell_is_ranked_by_all_seeds_of_its_rounds(tmp_path: Path) -> None:
    point = {"distill.temperature": 1}
    put(tmp_path, [
        record(0, [80.0, 80.0], BASE, point=point),
        record(1, [76.0, 76.0], BASE, point={"distill.temperature": 2}),
        record(2, {2: 70.0, 3: 70.0}, BASE, point=point, round_=2),
    ])  # fmt: skip
    made = choose("s", tmp_path, top=2, side="best", seeds=3, known=None)
    assert [f.value for f in made.finalists] == [76.0, 75.0]
    assert [f.trial for f in made.finalists] == [1, 2]  # its last one


def test_seeds_are_fresh_and_stay_so(folder: Path) -> None:
    first = choose("s", folder, top=2, side="best", seeds=3, known=None)
    assert (first.round, first.first_seed) == (1, 2)
    assert first.first_baseline_seed == FIRST + 2
    again = choose("s", folder, top=2, side="best", seeds=3, known=first)
    assert (again.round, again.first_seed) == (2, 5)
    # Of the first there were at most seeds * finalists.
    assert again.first_baseline_seed > first.first_baseline_seed + 3 * 2


def test_a_study_that_was_read_on_test_has_nothing_left(tmp_path: Path) -> None:
    put(tmp_path, [record(0, [70.0, 71.0], BASE, split="test")])
    with pytest.raises(UserError, match=r"^study=s: its cells were read on test"):
        chosen(tmp_path)


def test_nothing_to_confirm(tmp_path: Path) -> None:
    put(tmp_path, [record(0, [math.nan], BASE)])
    with pytest.raises(UserError, match=r"^study=s: has no complete cell in .*; root= names"):
        chosen(tmp_path)


def test_a_choice_is_read_as_it_was_written(folder: Path) -> None:
    made = choose("s", folder, top=2, side="both", seeds=3, known=None)
    path = folder / "selection.json"
    made.write(path)
    assert Selection.read(path) == made
    assert Selection.read(folder / "none.json") is None
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match=r"selection.json: is damaged .*; move it away") as caught:
        Selection.read(path)
    assert "\n" not in str(caught.value)
