from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from kdsweep.report.chart import Axis, Chart, Point, Series
from kdsweep.report.charts import charts
from kdsweep.report.interactive import figure
from kdsweep.report.svg import svg, ticks
from kdsweep.results.data import Cell
from tests.report.sweeps import judged, temperatures

NAMESPACE = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('1')</script>&\""


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def words(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{NAMESPACE}text")]


@pytest.mark.parametrize("chart", charts(judged()), ids=lambda chart: chart.key)
def test_every_chart_is_valid_and_says_what_it_shows(chart: Chart) -> None:
    root = parsed(svg(chart))
    assert chart.title in root.attrib["aria-label"]
    assert root.attrib["role"] == "img"
    assert set(chart.rows) <= set(words(root))
    texts = [text for series in chart.series for text in series.texts]
    assert set(texts) <= set(words(root))


@pytest.mark.parametrize("chart", charts(judged()), ids=lambda chart: chart.key)
def test_every_point_is_in_the_figure_with_its_words(chart: Chart) -> None:
    made = figure(chart)
    drawn = [len(trace.x) for trace in made.data if trace.hoverinfo != "skip"]
    assert drawn == [len(series.points) for series in chart.series]
    hover = [text for trace in made.data for text in trace.hovertext or ()]
    assert all(": " in text for text in hover)
    assert [t.meta for t in made.data if t.hoverinfo != "skip"] == [s.role for s in chart.series]


def test_a_verdict_is_told_by_its_shape() -> None:
    chart = next(chart for chart in charts(judged()) if chart.key == "forest")
    symbols = {trace.meta: trace.marker.symbol for trace in figure(chart).data}
    assert symbols == {"better": "triangle-up", "worse": "triangle-down"}
    root = parsed(svg(chart))
    groups = {g.attrib.get("class"): g for g in root.iter(f"{NAMESPACE}g")}
    corners = [
        next(groups[role].iter(f"{NAMESPACE}polygon")).attrib["points"].split()
        for role in ("better", "worse")
    ]
    tips = [[float(corner.split(",")[1]) for corner in shape] for shape in corners]
    assert tips[0][0] < tips[0][1]  # up
    assert tips[1][0] > tips[1][1]  # down


def test_words_from_outside_are_no_markup() -> None:
    sweep = temperatures()
    cells = tuple(replace(cell, label=HOSTILE) for cell in judged().cells)
    for chart in charts(replace(sweep, cells=cells, objective=HOSTILE, unit=HOSTILE)):
        root = parsed(svg(chart))
        assert not list(root.iter(f"{NAMESPACE}script"))
        assert "<script" not in "".join(
            text for trace in figure(chart).data for text in trace.hovertext or ()
        )


def test_a_place_is_in_proportion_to_its_number() -> None:
    points = tuple(Point(x=x, y=0) for x in (0.0, 25.0, 100.0))
    chart = Chart(
        key="k", title="t", caption="c", x=Axis(title="x"), y=Axis(title=""), rows=("row",),
        series=(Series(role="baseline", points=points),),
    )  # fmt: skip
    at = [float(c.attrib["cx"]) for c in parsed(svg(chart)).iter(f"{NAMESPACE}circle")]
    assert (at[1] - at[0]) / (at[2] - at[0]) == pytest.approx(0.25, abs=0.001)


@pytest.mark.parametrize(
    ("limits", "axis", "expected"),
    [
        ((0.0, 10.0), Axis(title=""), [0, 2, 4, 6, 8, 10]),
        ((-0.9, 1.2), Axis(title=""), [-0.5, 0.0, 0.5, 1.0]),
        ((0.6, 3.4), Axis(title="", whole=True), [1, 2, 3]),
        ((0.3, 30.0), Axis(title="", log=True), [0.5, 1, 2, 5, 10, 20]),
    ],
)
def test_ticks_are_round(limits: tuple[float, float], axis: Axis, expected: list[float]) -> None:
    assert ticks(limits, axis) == pytest.approx(expected)


def test_long_labels_keep_both_ends() -> None:
    long = [f"distill.losses.hinton.weight=0.5 temperature={t}" for t in (1, 2)]
    cells = tuple(Cell(label=label, values={}, accuracy_by_seed={0: 70.0}) for label in long)
    chart = next(c for c in charts(replace(judged(), cells=cells)) if c.key == "accuracy")
    shown = [text for text in words(parsed(svg(chart))) if "…" in text]
    assert shown == [f"distill.loss…temperature={t}" for t in (1, 2)]
    assert long[0] in svg(chart)  # in the title of its label


def test_125_cells_have_a_row_each() -> None:
    cells = tuple(
        Cell(label=f"c{i}", values={"i": i}, accuracy_by_seed={0: 70.0 + i}) for i in range(125)
    )
    chart = next(c for c in charts(replace(judged(), cells=cells)) if c.key == "accuracy")
    assert {f"c{i}" for i in range(125)} <= set(words(parsed(svg(chart))))
    assert figure(chart).layout.height > 125 * 14
