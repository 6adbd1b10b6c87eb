from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from kdsweep.report.pictures import figures
from kdsweep.report.race import race_panels, race_plot
from kdsweep.report.style import COLOURS
from kdsweep.results.data import Cell, CellVerdict, Look, Sweep
from tests.report.sweeps import judged

ROUNDS = (3, 6, 9)


def raced(label: str, *words: str, racing: bool = False) -> Cell:
    """A cell whose interval halves in each round."""
    looks = tuple(
        Look(word=word, n=3 * (i + 1), difference=1.0, low=1 - 4 * 0.5**i, high=1 + 4 * 0.5**i)
        for i, word in enumerate(words)
    )
    last = looks[-1]
    verdict = CellVerdict(
        word=last.word,
        difference=last.difference,
        low=last.low,
        high=last.high,
        looks=looks,
        racing=racing,
    )
    return Cell(label=label, values={"t": label}, accuracy_by_seed={0: 71.0}, verdict=verdict)


def race(*cells: Cell) -> Sweep:
    return replace(judged(), cells=cells, rounds=ROUNDS)


ALL = (
    raced("up", "open", "better"),
    raced("down", "worse"),
    raced("same", "open", "open", "equivalent"),
    raced("left", "open"),
    raced("end", "open", "open", "open"),
    raced("on", "open", "open", racing=True),
)


def intervals(axes: Axes) -> list[list[float]]:
    """Lower and upper ends of the bars, in the order of the rounds."""
    found = []
    for container in axes.containers:
        (bar,) = container[2]
        found.append([point[1] for point in bar.get_segments()[0]])
    return found


def test_a_cell_is_in_one_of_five_states() -> None:
    panels = race_panels(race(*ALL))
    assert panels is not None
    assert {panel.label: panel.state for panel in panels} == {
        "up": "better",
        "down": "worse",
        "same": "equivalent",
        "left": "dropped",
        "end": "open",
        "on": "open",
    }


def test_a_panel_has_an_interval_for_each_round_and_the_last_one_its_colour() -> None:
    figure = race_plot(replace(race(*ALL), equivalence=0.25))
    up, down, *_ = figure.axes
    assert intervals(up) == [[-3.0, 5.0], [-1.0, 3.0]]
    assert intervals(down) == [[-3.0, 5.0]]
    last = [axes.containers[-1][0].get_color() for axes in figure.axes]
    states = ("better", "worse", "equivalent", "dropped", "open", "open")
    assert [to_rgba(colour) for colour in last] == [to_rgba(COLOURS[s]) for s in states]
    assert up.containers[0][0].get_color() not in COLOURS.values()
    assert [label.get_text() for label in up.get_xticklabels()] == ["3", "6", "9"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    band = up.patches[0].get_extents().transformed(up.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((-0.25, 0.25))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "better: 1 cell",
        "equivalent: 1 cell",
        "worse: 1 cell",
        "open: 2 cells",
        "open, dropped before the last round: 1 cell",
        "an earlier round, still open",
    ]


def test_the_scale_is_that_of_the_last_intervals() -> None:
    low, high = race_plot(race(ALL[0])).axes[0].get_ylim()
    assert -3.0 < low < -1.0
    assert 3.0 < high < 5.0


def named_averages(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[-1].get_xticklabels()]


def test_averages_stand_beside_a_few_cells_and_below_a_map() -> None:
    verdict = CellVerdict(word="better", difference=1.0, low=0.5, high=1.5)
    one = race_plot(replace(race(*ALL[:2]), averages={"all 2 cells": verdict}))
    assert len({axes.get_position().y1 for axes in one.axes}) == 1
    assert named_averages(one) == ["all 2\ncells"]
    names = ("alpha 0.1", "alpha 0.3", "alpha 0.5", "T 1", "T 2", "all 6 cells")
    several = race_plot(replace(race(*ALL), averages=dict.fromkeys(names, verdict)))
    assert intervals(several.axes[-1]) == [[0.5, 1.5]] * 6
    assert named_averages(several) == ["0.1", "0.3\nalpha", "0.5", "1\nT", "2", "all 6\ncells"]
    assert several.axes[-1].get_position().y1 < several.axes[0].get_position().y0


def test_cells_without_an_average_leave_no_gap() -> None:
    figure = race_plot(race(*ALL[:3]))
    figure.draw_without_rendering()
    assert max(axes.get_position().x1 for axes in figure.axes) > 0.97


def test_a_map_has_a_row_of_panels_for_each_of_its_rows() -> None:
    cells = [
        replace(raced(f"alpha={a} T={t}", "better"), values={"alpha": a, "T": t})
        for a in range(3)
        for t in range(4)
    ]
    figure = race_plot(race(*cells))
    rows = [round(axes.get_position().y0, 6) for axes in figure.axes]
    assert [rows.count(row) for row in dict.fromkeys(rows)] == [4, 4, 4]


def test_25_panels_do_not_overlap() -> None:
    cells = tuple(
        replace(
            raced(f"temperature={i // 5 + 1} alpha=0.{2 * (i % 5) + 1}", "open", "better"),
            values={"temperature": i // 5, "alpha": i % 5},
        )
        for i in range(25)
    )
    figure = race_plot(race(*cells))
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    top = boxes[:5]
    assert all(left.x1 <= right.x0 for left, right in pairwise(top))
    assert all(above.y0 >= below.y1 for above, below in zip(boxes, boxes[5:], strict=False))


def test_of_too_many_cells_the_decided_ones_are_shown() -> None:
    cells = [raced(str(i), "open") for i in range(70)]
    cells[65] = raced("65", "better")
    cells[66] = raced("66", "open", "open")
    panels = race_panels(race(*cells))
    assert panels is not None
    assert [panel.label for panel in panels] == [*map(str, range(58)), "65", "66"]
    title = race_plot(race(*cells)).get_suptitle()
    assert "(60 of 70 cells)" in title


def test_only_a_race_of_several_rounds_has_a_picture() -> None:
    assert "race" in figures(race(*ALL))
    assert race_panels(replace(race(*ALL), rounds=(3,))) is None
    assert race_panels(judged()) is None
    assert race_panels(replace(judged(), rounds=ROUNDS)) is None
