from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest

from kdsweep.config import Config
from kdsweep.report.grid import grid as map_of
from kdsweep.results.cells import cells_of
from kdsweep.results.data import Sweep
from kdsweep.results.data import summarise as mean_of
from kdsweep.results.facts import notes
from kdsweep.results.record import Bin, Record
from kdsweep.results.summary import summarise, unit_of
from tests.results.made import network, record

BASE = (70.0,)


def summary(records: Sequence[Record]) -> Sweep:
    return summarise("s", cells_of(records))


def test_two_numeric_axes_make_a_map() -> None:
    records = [
        record(
            trial,
            [70.0 + trial],
            BASE,
            point={"distill.temperature": temperature, "distill.alpha": alpha},
        )
        for trial, (temperature, alpha) in enumerate([(1, 0.1), (1, 0.9), (2, 0.1), (2, 0.9)])
    ]
    sweep = summary(records)
    assert [cell.label for cell in sweep.cells][1] == "temperature=1 alpha=0.9"
    grid = map_of(sweep)
    assert grid is not None
    assert {grid.x_key, grid.y_key} == {"temperature", "alpha"}
    gaps = dict(zip([(0.1, 1), (0.9, 1), (0.1, 2), (0.9, 2)], [0.0, 1.0, 2.0, 3.0], strict=True))
    for row, y in enumerate(grid.y):
        for column, x in enumerate(grid.x):
            alpha, temperature = (x, y) if grid.x_key == "alpha" else (y, x)
            assert grid.places[row][column].difference == gaps[(alpha, temperature)]


def test_an_axis_of_names_makes_none() -> None:
    records = [
        record(trial, [70.0 + trial], BASE, point={"distill": loss, "distill.alpha": alpha})
        for trial, (loss, alpha) in enumerate([("dkd", 0.1), ("dkd", 0.9), ("dist", 0.1)])
    ]
    assert map_of(summary(records)) is None


def test_a_cell_is_all_of_its_rounds() -> None:
    point = {"distill.temperature": 4}
    records = [
        record(0, {0: 70.0, 1: 72.0}, (69.0, 70.0), point=point),
        record(1, {0: 60.0, 1: 61.0}, (69.0, 70.0), point={"distill.temperature": 2}),
        record(2, {2: 74.0, 3: math.nan}, (69.0, 70.0, 71.0), point=point, round_=2),
    ]
    sweep = summary(records)
    first, other = sweep.cells
    assert mean_of(first.accuracy_by_seed).mean == 72.0
    assert sorted(first.accuracy_by_seed) == [0, 1, 2, 3]
    assert math.isnan(first.accuracy_by_seed[3])
    assert set(first.curve) == {0, 1, 2, 3}
    assert first.seconds == 2.0
    assert (first.state, first.reason) == ("failed", "seed 3: the loss is nan in epoch 1")
    assert (other.state, other.reason) == ("complete", None)
    assert sweep.baseline is not None
    assert list(sweep.baseline.accuracy_by_seed.values()) == [69.0, 70.0, 71.0]


def test_different_baselines_are_none() -> None:
    points = [{"train.epochs": 1}, {"train.epochs": 2}]
    one, other = (
        record(i, [70.0], BASE, point=point, key=str(i)) for i, point in enumerate(points)
    )
    assert summary([one]).baseline is not None
    assert summary([one, other]).baseline is None


def test_a_baseline_of_which_every_seed_failed_is_none() -> None:
    assert summary([record(0, [math.nan], (math.nan, math.nan))]).baseline is None


def test_every_objective_has_a_unit() -> None:
    from kdsweep.config import OBJECTIVES
    from kdsweep.jobs.records import metric_name

    assert all(unit_of(metric_name(name, "val")) for name in OBJECTIVES)
    assert unit_of("val_nll") == "nats"


def test_different_teachers_are_told_and_none_is_shown_as_everyones() -> None:
    teachers = {
        key: network(0, accuracy, key=key, name=f"net-{key}")
        for key, accuracy in {"a": 80.0, "b": 85.0}.items()
    }
    records = [
        record(trial, [70.0], BASE, teacher=teachers[key]) for trial, key in enumerate("aba")
    ]
    sweep = summary(records)
    assert sweep.teacher is None
    assert [model.label for model in sweep.teachers] == ["net-a", "net-b"]
    assert any("2 teachers taught different cells (net-a 80.00" in line for line in notes(sweep))
    same = summary([records[0], records[2]])
    assert same.teacher is not None
    assert any("One teacher was used" in line for line in notes(same))


def test_a_network_that_is_swept_has_costs_of_its_own() -> None:
    costs = {"parameters": 1e6, "size_mib": 4.0, "latency_ms_p50": 7.0}
    wide = record(0, [70.0], BASE, point={"pair.student.width": 2}, costs=costs)
    narrow = record(1, [70.0], BASE, point={"pair.student.width": 1})
    cell, other = summary([wide, narrow]).cells
    assert (cell.parameters, cell.size_mib, cell.latency_ms) == (1_000_000, 4.0, 7.0)
    assert (other.parameters, other.latency_ms) == (1, None)
    assert summary([record(0, [70.0], BASE), narrow]).cells[0].parameters is None


def test_cells_are_called_as_their_study_calls_them() -> None:
    one = cells_of([record(0, [70.0], point={"distill.temperature": 1, "distill.alpha": 0.9})])
    assert summarise("s", one, keys=["distill.temperature"]).cells[0].label == "temperature=1"


@pytest.mark.parametrize(
    ("limit", "point", "expected"),
    [
        (None, {}, ""),
        (2000, {}, "Trained on at most 2,000 training images (data.train_limit): more may"),
        (256, {"experiment": "smoke"}, "through (at most 256 training images, 15 epochs): its nu"),
        (None, {"experiment": "smoke"}, "goes through (15 epochs): its numbers mean nothing."),
    ],
)
def test_what_makes_the_numbers_say_little(
    limit: int | None, point: dict[str, str], expected: str
) -> None:
    config = dataclasses.asdict(Config())
    config["data"]["train_limit"] = limit
    caveat = summary([record(0, [70.0], point=point, config=config)]).caveat
    assert expected in caveat
    assert bool(caveat) == bool(expected)


def test_the_reliability_of_several_seeds_is_that_of_all_their_answers() -> None:
    made = record(0, [70.0, 71.0], BASE)
    low, mid = (
        Bin(number=4, images=10, confidence=30.0, right=20.0),
        Bin(number=4, images=30, confidence=32.0, right=40.0),
    )
    high = Bin(number=13, images=5, confidence=90.0, right=80.0)
    seeds = {0: (low, high), 1: (mid,)}
    given = {
        seed: dataclasses.replace(one, reliability=seeds[seed]) for seed, one in made.seeds.items()
    }
    cell = summary([dataclasses.replace(made, seeds=given)]).cells[0]
    assert cell.measures.reliability == (
        Bin(number=4, images=40, confidence=31.5, right=35.0),
        high,
    )
