from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kdsweep.report import series
from tests.report.sweeps import curve, judged, temperatures


def test_accuracy_bars() -> None:
    bars = series.accuracy_bars(temperatures())
    assert bars is not None
    assert [(bar.role, bar.remark) for bar in bars] == [
        ("teacher", ""),
        ("baseline", ""),
        ("distilled", ""),
        ("best", ""),
        ("distilled", "failed, n = 1/2"),
        ("distilled", "pruned, n = 0"),
    ]
    assert [bar.value for bar in bars[:5]] == [83.13, 72.0, 72.0, 73.0, 74.25]
    assert math.isnan(bars[5].value)
    assert [bar.sd for bar in bars[1:4]] == pytest.approx([1.0, math.sqrt(2), math.sqrt(0.5)])


def test_cost_bars_are_of_networks_not_of_cells() -> None:
    sweep = temperatures()
    sizes = series.size_bars(sweep)
    assert sizes is not None
    assert [(bar.role, bar.value) for bar in sizes] == [("teacher", 17.81), ("baseline", 0.41)]
    wide = replace(sweep.cells[1], size_mib=1.5, parameters=400_000)
    sweep = replace(sweep, cells=(sweep.cells[0], wide))
    parameters = series.parameter_bars(sweep)
    assert parameters is not None
    assert [(bar.role, bar.value) for bar in parameters] == [
        ("teacher", 4_664_970),
        ("baseline", 106_826),
        ("best", 400_000),
    ]
    times = series.latency_bars(sweep)
    assert times is not None
    assert [bar.value for bar in times] == [111.29, 27.76]
    assert series.latency_bars(replace(sweep, teacher=None, baseline=None)) is None


def test_learning_curves_average_the_seeds_that_ended() -> None:
    lines = series.learning_curves(temperatures(), "val_accuracy")
    assert lines is not None
    assert [line.role for line in lines] == [
        "teacher",
        "baseline",
        "distilled",
        "best",
        "distilled",
    ]
    first, failed = lines[2], lines[4]
    assert (first.epochs, first.mean) == ((1, 2), (52.0, 72.0))
    assert first.sd == pytest.approx((math.sqrt(8), math.sqrt(2)))
    assert failed.mean == (55.0, 74.25)  # without the seed that diverged
    assert all(math.isnan(sd) for sd in failed.sd)
    assert series.learning_curves(temperatures(), "val_nll") is None


def test_a_pruned_cell_is_drawn_as_far_as_it_went() -> None:
    sweep = temperatures()
    pruned = replace(sweep.cells[3], curve={0: curve(40.0), 1: curve(42.0)})
    lines = series.learning_curves(replace(sweep, cells=(pruned,)), "val_accuracy")
    assert lines is not None
    assert (lines[-1].label, lines[-1].mean) == ("T=4", (41.0,))


def test_learning_curves_stop_where_a_seed_stops() -> None:
    sweep = temperatures()
    cell = replace(sweep.cells[0], curve={0: curve(50.0, 71.0, 75.0), 1: curve(54.0, 73.0)})
    lines = series.learning_curves(replace(sweep, cells=(cell,)), "val_accuracy")
    assert lines is not None
    assert lines[-1].epochs == (1, 2)


def test_difference_curves_are_taken_epoch_by_epoch() -> None:
    lines = series.difference_curves(temperatures(), "val_accuracy")
    assert lines is not None
    assert [(line.label, line.mean) for line in lines] == [
        ("T=1", (0.0, 0.0)),  # 52 - 52, 72 - 72
        ("T=2", (0.0, 1.0)),
        ("T=3", (3.0, 2.25)),
    ]
    assert series.difference_curves(replace(temperatures(), baseline=None), "val_accuracy") is None


def test_points_take_the_students_size_unless_they_have_their_own() -> None:
    sweep = temperatures()
    wide = replace(sweep.cells[0], size_mib=1.5)
    points = series.accuracy_against_size(replace(sweep, cells=(wide, *sweep.cells[1:])))
    assert points is not None
    assert [(p.label, p.size_mib, p.accuracy, p.named) for p in points] == [
        ("teacher", 17.81, 83.13, True),
        ("baseline student", 0.41, 72.0, True),
        ("T=1", 1.5, 72.0, True),
        ("T=2", 0.41, 73.0, True),
        ("T=3", 0.41, 74.25, False),
    ]


def test_forest_holds_the_cells_with_a_verdict() -> None:
    lines = series.forest(judged())
    assert lines is not None
    assert [(line.label, line.role, line.verdict.word) for line in lines] == [
        ("T=1", "distilled", "worse"),
        ("T=2", "best", "better"),
    ]
    assert series.forest(temperatures()) is None
