from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kdsweep.report.maps import difference_map, forest_plot
from kdsweep.report.style import COLOURS
from kdsweep.results.data import Cell, CellVerdict
from tests.report.sweeps import grid_sweep, judged
from tests.report.test_grid import decided


def test_map_is_centred_and_annotated() -> None:
    figure = difference_map(grid_sweep())
    axes = figure.axes[0]
    (image,) = axes.images
    expected = [[np.nan, 0.25, 0.75], [-0.25, 0.0, 0.5]]
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), expected)
    assert image.get_clim() == (-0.75, 0.75)
    assert {text.get_text() for text in axes.texts} == {
        "",
        "+0.25\nn=2",
        "+0.75\nn=2",
        "-0.25\nn=2",
        "+0.00\nn=2",
        "+0.50\nn=2",
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.25", "0.5"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("distill.temperature", "distill.alpha")
    frame = axes.patches[-1]
    assert (frame.get_x(), frame.get_y()) == pytest.approx((1.52, -0.48))


def test_map_names_what_failed() -> None:
    sweep = grid_sweep()
    failed = replace(sweep.cells[0], state="failed", accuracy_by_seed={})
    axes = difference_map(replace(sweep, cells=(failed, *sweep.cells[1:]))).axes[0]
    assert "failed" in {text.get_text() for text in axes.texts}
    assert sum(patch.get_hatch() == "////" for patch in axes.patches) == 1


@pytest.mark.parametrize(("maximize", "name"), [(True, "RdBu"), (False, "RdBu_r")])
def test_blue_is_better_in_both_directions(maximize: bool, name: str) -> None:
    axes = difference_map(replace(grid_sweep(), maximize=maximize)).axes[0]
    assert axes.images[0].get_cmap().name == name


def test_what_is_not_decided_is_hatched_and_has_no_colour() -> None:
    axes = difference_map(decided()).axes[0]
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(hatched) == 4
    shown = [text.get_text() for text in axes.texts]
    assert "▲ +0.75\n+0.2…+1.2" in shown
    assert shown.count("○ +0.50\n-0.2…+1.2") == 4


def test_forest_has_a_line_for_each_interval_and_the_band() -> None:
    from matplotlib.colors import to_rgba

    figure = forest_plot(replace(judged(), equivalence=0.25))
    axes = figure.axes[0]
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((-0.25, 0.25))
    spans = []
    for container in axes.containers:
        (bar,) = container[2]
        spans.append([point[0] for point in bar.get_segments()[0]])
    assert spans == [[-0.875, -0.125], [0.5, 1.75]]
    colours = [to_rgba(container[0].get_color()) for container in axes.containers]
    assert colours == [to_rgba(COLOURS["worse"]), to_rgba(COLOURS["better"])]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["T=1", "T=2 *"]
    assert "2 of 4 cells have no verdict" in axes.get_title(loc="left")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["better", "worse"]


def test_25_labels_do_not_overlap() -> None:
    cells = tuple(
        Cell(
            label=f"temperature={i // 5 + 1} alpha=0.{2 * (i % 5) + 1}",
            values={"i": i},
            accuracy_by_seed={0: 70.0},
            verdict=CellVerdict(word="open", difference=0.1, low=-0.2, high=0.4),
        )
        for i in range(25)
    )
    figure = forest_plot(replace(judged(), cells=cells))
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(box.x0 >= 0 for box in boxes)
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
