from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest

from kdsweep.report import charts, costs
from kdsweep.report.chart import Chart, Series
from kdsweep.results.data import CellVerdict, Look, Measures, Sweep, summarise
from kdsweep.results.record import Bin
from tests.report.sweeps import curve, judged, temperatures


def lines_of(chart: Chart | None) -> dict[str, Series]:
    assert chart is not None
    return {series.role: series for series in chart.series}


def raced() -> Sweep:
    """Two looks: one cell is decided in the first, the other in the second."""
    sweep = judged()
    first, second, *_ = sweep.cells
    assert first.verdict is not None
    assert second.verdict is not None
    before = Look(word="open", n=2, difference=0.5, low=-0.5, high=1.5)
    decided = [
        Look(word=v.word, n=n, difference=v.difference, low=v.low, high=v.high)
        for v, n in ((first.verdict, 2), (second.verdict, 4))
    ]
    one = replace(first.verdict, looks=(decided[0],))
    other = replace(second.verdict, looks=(before, decided[1]))
    cells = (replace(first, verdict=one), replace(second, verdict=other))
    return replace(sweep, cells=cells, rounds=(2, 4))


def test_only_what_there_is_data_for() -> None:
    def keys(sweep: Sweep) -> list[str]:
        return [chart.key for chart in charts.charts(sweep)]

    assert keys(judged()) == [
        "forest",
        "learning_curves",
        "accuracy",
        "parameters",
        "size",
        "latency",
        "accuracy_against_size",
    ]
    bare = replace(judged(), teacher=None, baseline=None)
    assert keys(bare) == ["forest", "learning_curves", "accuracy"]
    failed = [replace(c, accuracy_by_seed={}, curve={}, state="failed") for c in bare.cells]
    nothing = replace(bare, cells=tuple(replace(c, verdict=None) for c in failed))
    assert keys(nothing) == []


def test_the_forest_is_the_intervals_by_verdict() -> None:
    chart = charts.forest(judged())
    found = lines_of(chart)
    (worse,), (better,) = found["worse"].points, found["better"].points
    assert (worse.x, worse.low, worse.high, worse.y) == (-0.5, -0.875, -0.125, 0)
    assert (better.x, better.low, better.high, better.y) == (1.0, 0.5, 1.75, 1)
    assert chart is not None
    assert chart.rows == ("T=1", "T=2")
    assert (chart.line, chart.zone) == (0.0, (-0.5, 0.5))
    assert "2 of 4 cells have no interval" in chart.caption
    assert better.note == "better: +1.00 points, 95 % interval +0.50 to +1.75"


def test_what_is_open_says_that_it_is_not_decided() -> None:
    sweep = judged()
    still = CellVerdict(word="open", difference=0.2, low=-1.0, high=1.4)
    sweep = replace(sweep, cells=(replace(sweep.cells[0], verdict=still),))
    found = lines_of(charts.forest(sweep))
    assert set(found) == {"open"}
    assert found["open"].name == "not decided"
    assert found["open"].points[0].note.startswith("not decided: +0.20 points")


def test_the_race_ends_where_a_cell_leaves() -> None:
    chart = charts.race(raced())
    assert chart is not None
    (line,) = [series for series in chart.series if series.mark == "line"]
    assert [(p.x, p.y) for p in line.points] == [(1, 0.5), (2, 1.0)]
    ends = {s.role: s.points for s in chart.series if s.mark == "marker"}
    assert [(p.x, p.y) for p in ends["worse"]] == [(1, -0.5)]
    assert [(p.x, p.low, p.high) for p in ends["better"]] == [(2, 0.5, 1.75)]
    assert "2 of 2 are decided" in chart.caption
    assert charts.race(judged()) is None


def test_cells_of_one_round_do_not_hide_one_another() -> None:
    sweep = raced()
    verdicts = [cell.verdict for cell in sweep.cells]
    assert verdicts[1] is not None
    early = replace(verdicts[1], looks=verdicts[1].looks[:1])
    cells = (sweep.cells[0], replace(sweep.cells[1], verdict=early))
    chart = charts.race(replace(sweep, cells=cells))
    assert chart is not None
    places = [p.x for series in chart.series for p in series.points]
    assert sorted(places) == [0.7, 1.3]


def test_curves_of_teacher_baseline_best_and_worst_have_bands() -> None:
    found = lines_of(charts.curves(temperatures()))
    assert set(found) == {"teacher", "baseline", "best", "worst", "distilled"}
    assert (found["best"].name, found["worst"].name) == ("best: T=2", "worst: T=1")
    worst = found["worst"].points
    assert [(p.x, p.y) for p in worst] == [(1, 52.0), (2, 72.0)]
    assert [p.high - p.y for p in worst] == pytest.approx([math.sqrt(8), math.sqrt(2)])
    rest = found["distilled"]  # T=3, without the seed that diverged
    assert (rest.faint, rest.name, [p.y for p in rest.points]) == (True, "", [55.0, 74.25])
    assert math.isnan(rest.points[0].low)
    assert found["baseline"].dashed


def test_curves_stop_where_a_seed_stops() -> None:
    sweep = temperatures()
    cell = replace(sweep.cells[0], curve={0: curve(50.0, 71.0, 75.0), 1: curve(54.0, 73.0)})
    chart = charts.curves(replace(sweep, cells=(cell,), teacher=None, baseline=None))
    assert chart is not None
    assert [(s.name, [p.x for p in s.points]) for s in chart.series] == [("T=1", [1, 2])]


def test_accuracy_is_mean_and_deviation_of_every_network() -> None:
    chart = charts.accuracy(temperatures())
    found = lines_of(chart)
    assert chart is not None
    assert chart.rows == ("teacher teacher", "baseline baseline student", "T=1", "T=2", "T=3")
    assert [p.x for p in found["distilled"].points] == [72.0, 73.0, 74.25]
    (baseline,) = found["baseline"].points
    assert (baseline.x, baseline.low, baseline.high) == (72.0, 71.0, 73.0)
    assert chart.line == 72.0
    assert found["distilled"].points[2].note == "74.25, n = 1/2, failed"


def test_costs_are_compared_with_the_teachers() -> None:
    found = lines_of(costs.parameters(temperatures()))
    assert found["baseline"].texts == ("106,826 (2.3 %)",)
    assert found["teacher"].texts == ("4,664,970",)
    wide = replace(temperatures().cells[1], parameters=400_000)
    chart = costs.parameters(replace(temperatures(), cells=(wide,)))
    assert chart is not None
    assert chart.rows[-1] == "T=2"
    assert [p.x for s in chart.series for p in s.points] == [4_664_970, 106_826, 400_000]
    assert costs.latency(replace(temperatures(), teacher=None, baseline=None)) is None


def test_cells_take_the_students_size_unless_they_have_their_own() -> None:
    sweep = temperatures()
    wide = replace(sweep.cells[0], size_mib=1.5)
    chart = costs.accuracy_against_size(replace(sweep, cells=(wide, *sweep.cells[1:])))
    assert chart is not None
    shown = {series.name: [(p.x, p.y) for p in series.points] for series in chart.series}
    assert shown == {
        "other cells": [(0.41, 74.25)],
        "teacher: teacher": [(17.81, 83.13)],
        "baseline: baseline student": [(0.41, 72.0)],
        "T=1": [(1.5, 72.0)],
        "best: T=2": [(0.41, 73.0)],
    }


def test_fidelity_and_calibration_need_their_measures() -> None:
    sweep = judged()
    assert charts.fidelity(sweep) is None
    assert charts.calibration(sweep) is None
    measures = Measures(agreement=summarise({0: 80.0, 1: 82.0}), ece=summarise({0: 0.1, 1: 0.3}))
    measured = replace(sweep, cells=(replace(sweep.cells[1], measures=measures),))
    (point,) = lines_of(charts.fidelity(measured))["better"].points
    assert (point.x, point.y) == (81.0, 1.0)
    chart = charts.calibration(measured)
    assert chart is not None
    assert (chart.rows, chart.series[0].points[0].x) == (("T=2",), 0.2)


def test_reliability_of_teacher_baseline_and_best() -> None:
    sweep = judged()
    assert sweep.baseline is not None
    assert charts.reliability(sweep) is None
    bins = (
        Bin(number=5, images=19, confidence=35.0, right=90.0),  # too few to say anything
        Bin(number=13, images=20, confidence=91.0, right=70.5),
    )
    measures = Measures(reliability=bins)
    cells = tuple(replace(cell, measures=measures) for cell in sweep.cells)
    baseline = replace(sweep.baseline, measures=measures)
    found = lines_of(charts.reliability(replace(sweep, cells=cells, baseline=baseline)))
    assert list(found) == ["open", "baseline", "best"]
    assert [(p.x, p.y) for p in found["open"].points] == [(0, 0), (100, 100)]
    (point,) = found["best"].points
    assert (point.x, point.y) == (91.0, 70.5)
    assert point.note == "91.0 % sure of 20 answers, 70.5 % of which are right"


def test_a_cell_alone_is_neither_the_best_nor_one_of_others() -> None:
    sweep = replace(judged(), cells=judged().cells[:1])
    chart = charts.accuracy_against_size(sweep)
    assert chart is not None
    assert [one.name for one in chart.series][-1] == "T=1"
    bins = Measures(reliability=(Bin(number=13, images=20, confidence=91.0, right=70.5),))
    alone = replace(sweep, cells=(replace(sweep.cells[0], measures=bins),))
    reliability = charts.reliability(alone)
    assert reliability is not None
    assert [one.name for one in reliability.series][1:] == ["T=1"]


def test_the_data_as_csv() -> None:
    chart = charts.forest(judged())
    assert chart is not None
    rows = list(csv.reader(io.StringIO(chart.to_csv())))
    assert rows[0][:2] == ["series", "name"]
    assert rows[1][:5] == ["better", "T=2", "1.0", "0.5", "1.75"]
    assert len(rows) == 3


def test_no_text_of_a_csv_is_a_formula() -> None:
    sweep = judged()
    cell = replace(sweep.cells[0], label="=1+1")
    chart = charts.forest(replace(sweep, cells=(cell,)))
    assert chart is not None
    assert "'=1+1" in chart.to_csv()
