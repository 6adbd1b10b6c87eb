"""The pictures by name: the map as SVG, files, and what a notebook shows."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kdsweep.errors import UserError
from kdsweep.report.chart import Chart
from kdsweep.report.figure import figures
from kdsweep.results.data import Sweep
from tests.report.sweeps import grid_sweep, judged
from tests.report.test_charts import raced
from tests.report.test_grid import decided
from tests.report.test_svg import HOSTILE, NAMESPACE, parsed, words


def test_the_names_are_those_of_the_data() -> None:
    assert next(iter(figures(decided()))) == "map"
    assert "map" not in figures(judged())
    assert [figure.name for figure in figures(raced()).values()] == list(figures(raced()))


@pytest.mark.parametrize("sweep", [decided(), raced()], ids=["map", "race"])
def test_a_file_needs_no_page_and_no_variables(sweep: Sweep) -> None:
    for figure in figures(sweep).values():
        text = figure._repr_svg_()
        root = parsed(text)
        assert "var(" not in text
        assert "#fff" in (next(root.iter(f"{NAMESPACE}style")).text or "")
        width, height = re.findall(r'viewBox="0 0 (\d+) (\d+)"', text)[0]
        assert (root.attrib["width"], root.attrib["height"]) == (
            str(2 * int(width)), str(2 * int(height)),
        )  # fmt: skip


def places(root: ElementTree.Element) -> dict[str, str]:
    """The class of each place of a map, by the words it shows first."""
    found = {}
    for group in root.iter(f"{NAMESPACE}g"):
        shown = next(group.iter(f"{NAMESPACE}text")).text
        found[shown or ""] = next(group.iter(f"{NAMESPACE}rect")).attrib["class"]
    return found


def test_the_map_hatches_what_is_open_and_frames_the_best() -> None:
    root = parsed(figures(decided())["map"].svg())
    assert places(root) == {"▲ +0.75": "place better", "○ +0.50": "place open"}
    boxes = [rect.attrib["class"] for rect in root.iter(f"{NAMESPACE}rect")]
    assert boxes.count("place open") == 5 + 1  # and in the key
    assert boxes.count("place best") == 1 + 1
    assert "place worse" not in boxes
    shown = words(root)
    for expected in ("0.25", "0.5", "1", "2", "4", "mean", "temperature", "alpha", "+0.2…+1.2"):
        assert expected in shown
    assert shown.index("0.5") < shown.index("0.25")  # the larger one is higher


def test_no_key_for_what_is_not_there_and_words_are_no_markup() -> None:
    sweep = grid_sweep()
    cells = tuple(replace(cell, label=HOSTILE) for cell in sweep.cells)
    root = parsed(figures(replace(sweep, cells=cells, objective=HOSTILE))["map"].svg())
    assert not list(root.iter(f"{NAMESPACE}script"))
    assert HOSTILE in "".join(root.itertext())
    assert not [text for text in words(root) if text in ("▲ better", "▼ worse")]


def test_saved_by_its_ending(tmp_path: Path) -> None:
    figure = figures(decided())["map"]
    assert figure.save(tmp_path / "map.svg").read_text(encoding="utf-8") == figure.svg()
    assert figure.save(str(tmp_path / "new" / "map.csv")).read_text().startswith("distill.alpha,")
    with pytest.raises(
        UserError, match=r"map\.png: allowed is a name that ends in \.svg or \.csv"
    ):
        figure.save(tmp_path / "map.png")


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = figures(decided())["map"].save(tmp_path / "x.svg")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space"):
        figures(raced())["forest"].save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.svg"]
    assert path.read_bytes() == before


def test_few_cells_show_the_intervals_of_earlier_rounds() -> None:
    chart = figures(raced())["forest"].shown
    assert isinstance(chart, Chart)
    series = {one.name: one for one in chart.series}
    (before,) = series["an earlier round"].points
    assert (before.x, before.low, before.high, before.name) == (0.5, -0.5, 1.5, "T=2")
    assert 0.5 < before.y < 1
    assert "earlier rounds" in chart.caption
    assert "earlier" not in figures(judged())["forest"].shown.caption
    cells = (*raced().cells, *(replace(raced().cells[0], label=f"c{i}") for i in range(11)))
    many = figures(replace(raced(), cells=cells))["forest"].shown
    assert "earlier" not in many.caption
