from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from kdsweep.report import pictures
from kdsweep.report.pictures import figures, png, write_atomically
from kdsweep.report.style import COLOURS
from kdsweep.results.data import Sweep
from tests.report.sweeps import curve, grid_sweep, judged, temperatures

PNG = b"\x89PNG\r\n\x1a\n"


def texts(figure: Figure) -> set[str]:
    """Every word on the figure that is not blank."""
    from matplotlib.text import Text

    found = (artist.get_text() for artist in figure.findobj(Text) if isinstance(artist, Text))
    return {text for text in found if text.strip()}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_accuracy_bars_are_the_means_in_the_colours_of_their_roles() -> None:
    from matplotlib.colors import to_rgba

    figure = pictures.accuracy_bars(temperatures())
    axes = figure.axes[0]
    bars = axes.patches[:6]
    assert [bar.get_width() for bar in bars[:5]] == [83.13, 72.0, 72.0, 73.0, 74.25]
    roles = ("teacher", "baseline", "distilled", "best")
    assert [bar.get_facecolor() for bar in bars[:4]] == [to_rgba(COLOURS[r]) for r in roles]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "teacher",
        "baseline student",
        "T=1",
        "T=2",
        "T=3",
        "T=4",
    ]
    assert axes.get_xlim()[0] == 0
    assert axes.yaxis_inverted()
    expected = {"83.13", "72.00 ± 1.41", "74.25  (failed, n = 1/2)", "  (pruned, n = 0)"}
    assert expected <= texts(figure)
    assert "val_accuracy, %" in axes.get_xlabel()


def test_cost_bars_compare_with_the_teacher() -> None:
    sweep = temperatures()
    assert "106,826  (2.3 % of the teacher's)" in texts(pictures.parameter_bars(sweep))
    assert {"17.81", "0.41  (2.3 % of the teacher's)"} <= texts(pictures.size_bars(sweep))
    times = pictures.latency_bars(sweep)
    assert {"111.29", "27.76  (24.9 % of the teacher's)"} <= texts(times)
    assert times.axes[0].get_xlabel() == "ms a batch, median, batch of 128, 1 thread"


def test_learning_curves_name_a_few_cells() -> None:
    figure = pictures.learning_curves(temperatures())
    assert legend(figure) == ["teacher", "baseline student", "T=1", "T=2 (best)", "T=3"]
    left, right = figure.axes
    assert [list(line.get_ydata()) for line in left.lines][2:4] == [[52.0, 72.0], [52.0, 73.0]]
    assert [list(line.get_ydata()) for line in right.lines][1:] == [[0, 0], [0, 1], [3, 2.25]]
    markers = [line.get_marker() for line in left.lines[2:]]
    assert len(set(markers)) == 3


def test_learning_curves_of_many_cells_name_the_best() -> None:
    sweep = temperatures()
    cells = tuple(
        replace(
            sweep.cells[0], label=f"T={t}", accuracy_by_seed={0: t}, curve={0: curve(40.0, 60 + t)}
        )
        for t in range(25)
    )
    figure = pictures.learning_curves(replace(sweep, cells=cells))
    assert sorted(legend(figure)) == sorted(
        ["teacher", "baseline student", "24 other cells", "T=24 (best)"]
    )
    assert len(figure.axes[0].lines) == 27


def test_learning_curves_without_a_baseline() -> None:
    figure = pictures.learning_curves(replace(temperatures(), baseline=None))
    assert len(figure.axes) == 1


def test_accuracy_against_size() -> None:
    figure = pictures.accuracy_against_size(temperatures())
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert len(axes.containers) == 5
    assert sorted(legend(figure)) == [
        "T=2: 73.00 %",
        "baseline student: 72.00 %",
        "teacher: 83.13 %",
    ]


def test_the_longest_bar_has_room_for_its_number() -> None:
    sweep = temperatures()
    cells = (replace(sweep.cells[0], latency_ms=150.0), replace(sweep.cells[1], latency_ms=1.0))
    figure = pictures.latency_bars(replace(sweep, cells=cells))
    figure.draw_without_rendering()
    assert "150.00  (134.8 % of the teacher's)" in texts(figure)
    axes = figure.axes[0]
    ends = [text.get_window_extent().x1 for text in axes.texts]
    assert max(ends) <= axes.get_window_extent().x1


def test_only_the_pictures_with_data_are_made() -> None:
    costs = {"parameters", "size", "latency", "accuracy_against_size"}
    assert figures(temperatures()).keys() == {"accuracy", "learning_curves", *costs}
    assert figures(judged()).keys() == {"accuracy", "forest", "learning_curves", *costs}
    without = figures(replace(grid_sweep(), teacher=None))
    assert without.keys() == {"accuracy", "difference_map", *costs - {"latency"}}
    sweep = temperatures()
    assert figures(replace(sweep, cells=sweep.cells[3:], teacher=None, baseline=None)) == {}


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert path.read_bytes() == b"old"


def test_a_picture_is_the_same_every_time_and_leaves_no_settings_behind() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    first, second = (png(pictures.size_bars(temperatures())) for _ in range(2))
    assert first == second
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    "draw",
    [pictures.accuracy_bars, pictures.learning_curves, pictures.accuracy_against_size],
)
def test_long_labels_stay_inside(draw: Callable[[Sweep], Figure]) -> None:
    sweep = judged()
    long = "distill.temperature=4 distill.alpha=0.7 train.optimizer.lr=0.001 train.epochs=15 " * 2
    cells = tuple(replace(sweep.cells[1], label=f"{long} seed={i}") for i in range(3))
    figure = draw(replace(sweep, cells=cells))
    figure.draw_without_rendering()
    inside = figure.get_tightbbox()
    assert inside.x0 >= -0.02
    assert inside.x1 <= figure.get_figwidth() + 0.02
    extents = [axes.get_window_extent() for axes in figure.axes]
    assert all(extent.width > 300 for extent in extents)
    if draw is not pictures.accuracy_bars:
        assert all(extent.height > 400 for extent in extents)


def test_a_dollar_sign_in_a_label_is_drawn_as_it_is() -> None:
    sweep = temperatures()
    cell = replace(sweep.cells[0], label="lr=$x_{$")
    assert png(pictures.accuracy_bars(replace(sweep, cells=(cell,)))).startswith(PNG)
