"""From records to verdicts: what is compared with what, and where there is no verdict at all."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kdsweep.errors import UserError
from kdsweep.results.cells import CellRecords, cells_of, short_value
from kdsweep.results.data import Sweep
from kdsweep.results.judgement import ADAPTIVE, GONE, ONE_SEED, STOPPED, judge_sweep
from kdsweep.results.race import Race, grid_axes
from kdsweep.results.record import Record
from kdsweep.results.summary import summarise
from kdsweep.verdict import RaceDesign
from tests.results.made import FIRST, record

BASE = (70.0, 71.0, 69.5, 70.2, 70.9)
BETTER = tuple(score + 3 + 0.1 * (-1) ** seed for seed, score in enumerate(BASE))
WORSE = tuple(score - 3 - 0.1 * (-1) ** seed for seed, score in enumerate(BASE))


def judged(records: Sequence[Record], folder: Path, *, adaptive: bool = False) -> Sweep:
    cells = cells_of(records)
    sweep, _ = judge_sweep(summarise("s", cells), cells, folder, adaptive=adaptive)
    return sweep


def words(sweep: Sweep) -> list[str | None]:
    return [None if cell.verdict is None else cell.verdict.word for cell in sweep.cells]


def test_every_cell_gets_the_verdict_of_the_race(tmp_path: Path) -> None:
    records = [record(1, BETTER, BASE), record(2, WORSE, BASE)]
    sweep = judged(records, tmp_path)
    assert words(sweep) == ["better", "worse"]
    race = Race.of(cells_of(records), margin=0.5)
    assert race is not None
    outcome = race.judge(cells_of(records), "val_accuracy")
    for shown, cell in zip(sweep.cells, outcome.cells, strict=True):
        assert shown.verdict is not None
        assert (shown.verdict.low, shown.verdict.high) == (cell.low, cell.high)
        assert shown.verdict.difference == cell.difference
    assert any("1 better" in line and "1 worse" in line for line in sweep.verdict_lines)


def test_the_margin_is_the_configurations_and_the_reports_band(tmp_path: Path) -> None:
    made = record(1, BETTER, BASE)
    config = {**made.config, "verdict": {**made.config["verdict"], "margin": 5.0}}
    wide = [dataclasses.replace(each, config=config) for each in (made, record(2, WORSE, BASE))]
    assert judged(wide, tmp_path).equivalence == 5.0
    assert judged([made, record(2, WORSE, BASE)], tmp_path).equivalence == 0.5


def test_cells_with_a_baseline_of_their_own_are_compared_with_it(tmp_path: Path) -> None:
    lower = tuple(score - 6 for score in BASE)
    records = [
        record(1, BETTER, BASE, key="first"),
        record(2, [score - 6 for score in BETTER], lower, key="other"),
    ]
    sweep = judged(records, tmp_path)
    assert words(sweep) == ["better", "better"]
    one, other = (cell.verdict for cell in sweep.cells)
    assert one is not None
    assert other is not None
    assert other.difference == pytest.approx(one.difference)
    assert one.difference == pytest.approx(np.mean(BETTER) - np.mean(BASE))


def test_a_failed_seed_is_nan_and_no_zero() -> None:
    (cell,) = cells_of([record(1, {**dict(enumerate(BETTER)), 3: math.nan}, BASE)])
    assert np.isnan(cell.scores("val_accuracy")).tolist() == [False, False, False, True, False]


def test_a_baseline_seed_that_failed_is_left_out(tmp_path: Path) -> None:
    broken = (*BASE, math.nan)
    cells = cells_of([record(1, BETTER, broken)])
    assert FIRST + 5 in cells[0].baselines
    sweep = judged([record(1, BETTER, broken)], tmp_path)
    assert sweep.cells[0].verdict is not None
    expected = np.mean(BETTER) - np.mean(BASE)
    assert sweep.cells[0].verdict.difference == pytest.approx(expected)


def two_rounds(folder: Path) -> tuple[Race, list[Record]]:
    """A race of two cells, the second of which has gone on; its design is in the folder."""
    points = ({"distill.temperature": "1"}, {"distill.temperature": "2"})
    design = RaceDesign.create(cells=2, seeds=2, rounds=3, axes=(2,), baseline=5)
    race = Race(design=design, points=points)
    race.write(folder)
    first = [record(1, BETTER[:2], BASE), record(2, BASE[:2], BASE)]
    return race, [*first, record(3, {2: 69.7, 3: 70.1}, BASE, point=points[1], round_=2)]


@pytest.mark.parametrize(
    "text",
    ["{", "", "[]", "null", "3", '{"design": {}, "points": []}', "fewer points"],
)
def test_a_damaged_race_is_one_line(tmp_path: Path, text: str) -> None:
    race, records = two_rounds(tmp_path)
    fewer = json.dumps({**race.to_json(), "points": race.to_json()["points"][:1]})
    (tmp_path / "race.json").write_text(fewer if text == "fewer points" else text)
    with pytest.raises(UserError) as caught:
        judged(records, tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path}/race.json: is damaged (")
    assert line.endswith("; the sweep's command writes it again")
    assert "\n" not in line


def test_rounds_without_their_race_get_no_verdict(tmp_path: Path) -> None:
    """As one look at all seeds they would be decided by levels that were never planned."""
    _, records = two_rounds(tmp_path)
    (tmp_path / "race.json").unlink()
    assert judged(records, tmp_path).verdict_lines == (GONE,)
    config = {**records[0].config, "seeds": 2, "rounds": 3}
    first = [dataclasses.replace(each, config=config) for each in records[:2]]
    assert judged(first, tmp_path).verdict_lines == (GONE,)


def test_later_rounds_do_not_stand_for_one_whose_record_is_gone(tmp_path: Path) -> None:
    race, records = two_rounds(tmp_path)
    outcome = race.judge(cells_of([records[0], records[2]]), "val_accuracy")
    assert [cell.n for cell in outcome.cells][1] == 0
    assert not outcome.finished


def test_a_studys_own_race_is_judged_as_it_was_planned(tmp_path: Path) -> None:
    """Round by round, with its levels: not as if all seeds had been meant from the start."""
    first = [record(1, BETTER[:2], BASE), record(2, BASE[:2], BASE)]
    second = record(3, {2: 69.7, 3: 70.1}, BASE, point={"distill.temperature": 2}, round_=2)
    design = RaceDesign.create(cells=2, seeds=2, rounds=3, axes=(2,), baseline=5)
    race = Race(
        design=design,
        points=({"distill.temperature": "1"}, {"distill.temperature": "2"}),
    )
    race.write(tmp_path)
    cells = cells_of([*first, second])
    sweep = judged([*first, second], tmp_path)
    outcome = race.judge(cells, "val_accuracy")
    assert outcome.design.rounds == 3
    for shown, cell in zip(sweep.cells, outcome.cells, strict=True):
        assert shown.verdict is not None
        assert (shown.verdict.low, shown.verdict.high) == (cell.low, cell.high)
    alone = Race.of(cells, margin=0.5)
    assert alone is not None
    assert alone.judge(cells, "val_accuracy").cells[0].low != outcome.cells[0].low


def test_the_looks_at_a_cell_are_what_its_rounds_found(tmp_path: Path) -> None:
    points = [{"distill.temperature": str(t)} for t in (1, 2)]
    design = RaceDesign.create(cells=2, seeds=2, rounds=3, axes=(2,), baseline=5)
    race = Race(design=design, points=tuple(points))
    race.write(tmp_path)
    base = [*BASE, *BASE][: design.baselines[1]]
    first = [record(1, (80.0, 80.5), base), record(2, (71.5, 72.0), base)]
    second = record(3, {2: 71.7, 3: 72.1}, base, point=points[1], round_=2)
    sweep = judged([*first, second], tmp_path)
    before = race.judge(cells_of(first), "val_accuracy")
    after = race.judge(cells_of([*first, second]), "val_accuracy")
    assert (before.round, after.round) == (1, 2)
    one, two = (cell.verdict for cell in sweep.cells)
    assert one is not None
    assert two is not None
    assert [(look.word, look.n) for look in one.looks] == [("better", 2)]
    assert [(look.n, look.low) for look in two.looks] == [
        (2, before.cells[1].low),
        (4, after.cells[1].low),
    ]
    assert sweep.rounds == (2, 4, 6)
    assert sweep.averages["both cells"].low == after.averages[0].low


def test_verdicts_follow_their_cells_in_whatever_order_those_were_trained(tmp_path: Path) -> None:
    race = Race(
        design=RaceDesign.create(cells=2, seeds=5, axes=(2,), baseline=5),
        points=({"distill.temperature": "1"}, {"distill.temperature": "2"}),
    )
    race.write(tmp_path)
    point = {"distill.temperature": 1}
    records = [record(0, WORSE, BASE, point={"distill.temperature": 2})]
    records.append(record(1, BETTER, BASE, point=point))
    sweep = judged(records, tmp_path)
    assert [cell.label for cell in sweep.cells] == ["temperature=2", "temperature=1"]
    assert words(sweep) == ["worse", "better"]


def test_adaptive_cells_get_no_map_verdict(tmp_path: Path) -> None:
    sweep = judged([record(1, BETTER, BASE)], tmp_path, adaptive=True)
    assert sweep.verdict_lines == (ADAPTIVE,)
    assert words(sweep) == [None]


def test_the_best_of_a_sampler_are_judged_by_their_race_alone(tmp_path: Path) -> None:
    point = {"distill.temperature": "7"}
    Race(design=RaceDesign.create(cells=1, seeds=5, axes=(1,)), points=(point,)).write(tmp_path)
    drawn = [record(0, WORSE, BASE, point=point, round_=0), record(1, BASE, BASE, round_=0)]
    assert words(judged(drawn, tmp_path, adaptive=True)) == [None, None]
    raced = record(2, dict(enumerate(BETTER, start=5)), BASE, point=point)
    sweep = judged([*drawn, raced], tmp_path, adaptive=True)
    named = dict(zip([cell.label for cell in sweep.cells], words(sweep), strict=True))
    assert named == {"temperature=7": "better", "temperature=1": None}
    assert any(line.startswith("1 of 2 cells raced") for line in sweep.verdict_lines)


def test_what_a_sampler_has_drawn_is_named_by_its_first_digits(tmp_path: Path) -> None:
    drawn = {"distill.temperature": "3.195254015709299"}
    Race(design=RaceDesign.create(cells=1, seeds=5, axes=(1,)), points=(drawn,)).write(tmp_path)
    other = {"distill.temperature": "12.5"}
    records = [record(0, BETTER, BASE, point=drawn), record(1, BASE, BASE, point=other, round_=0)]
    sweep = judged(records, tmp_path, adaptive=True)
    assert [cell.label for cell in sweep.cells] == ["temperature=3.1953", "temperature=12.5"]
    assert short_value("a-name-that-is-long") == "a-name-that-is-long"


def test_random_draws_that_do_not_race_are_a_plain_map(tmp_path: Path) -> None:
    """Of ``search=random verdict.top=0``: nobody chose them by their scores."""
    records = [record(1, BETTER, BASE, round_=0), record(2, WORSE, BASE, round_=0)]
    assert words(judged(records, tmp_path)) == ["better", "worse"]


def test_a_cell_whose_teacher_failed_leaves_the_others_their_verdicts(tmp_path: Path) -> None:
    broken = record(3, [math.nan] * 5, ())
    records = [record(1, BETTER, BASE), broken, record(2, WORSE, BASE)]
    assert words(judged(records, tmp_path)) == ["better", None, "worse"]


def test_survivors_of_a_pruner_get_no_map_verdict(tmp_path: Path) -> None:
    records = [record(1, BETTER, BASE), record(2, WORSE, BASE, state="pruned")]
    sweep = judged(records, tmp_path)
    assert sweep.verdict_lines == (STOPPED,)
    assert words(sweep) == [None, None]


def test_one_seed_is_told_to_be_too_few(tmp_path: Path) -> None:
    sweep = judged([record(1, [80.0], [70.0])], tmp_path)
    assert sweep.verdict_lines == (ONE_SEED,)
    assert words(sweep) == [None]


@pytest.mark.parametrize("objective", ["val_nll", "val_top5_accuracy", "size_mib"])
def test_what_is_no_accuracy_has_no_verdict(tmp_path: Path, objective: str) -> None:
    records = [record(1, BETTER, BASE, objectives=(objective,))]
    sweep = judged(records, tmp_path)
    assert (words(sweep), sweep.verdict_lines) == ([None], ())


def test_a_sweep_without_a_baseline_has_no_verdict(tmp_path: Path) -> None:
    sweep = judged([record(1, BETTER, ())], tmp_path)
    assert (words(sweep), sweep.verdict_lines) == ([None], ())


def points(*given: tuple[int, int]) -> list[dict[str, str]]:
    return [{"t": str(t), "a": str(a), "fixed": "x"} for t, a in given]


def test_a_complete_grid_has_axes_and_others_have_none() -> None:
    grid = points((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))
    assert grid_axes(grid) == (2, 3)
    assert grid_axes(grid[:-1]) is None
    assert grid_axes([grid[1], grid[0], *grid[2:]]) is None
    assert grid_axes(grid[:3]) == (3,)
    assert grid_axes(grid[:1]) is None


def test_a_round_that_was_trained_twice_counts_once() -> None:
    records = [record(1, [70.0], BASE), record(5, [71.0], BASE, point={"distill.temperature": 1})]
    (cell,) = cells_of(records)
    assert isinstance(cell, CellRecords)
    assert cell.scores("val_accuracy").tolist() == [71.0]
