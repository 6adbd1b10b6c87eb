"""The pictures of a sweep by name, and one of them as a notebook shows it and as a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.report.chart import Chart
from kdsweep.report.charts import charts
from kdsweep.report.map import Map, difference_map
from kdsweep.report.svg import svg
from kdsweep.report.svg_map import map_svg
from kdsweep.results.data import Sweep
from kdsweep.store import write_text


@dataclass(frozen=True, repr=False)
class Figure:
    """A picture of a study, which a notebook shows by itself."""

    shown: Chart | Map

    @property
    def name(self) -> str:
        """What the study knows it by."""
        return self.shown.key

    def save(self, path: str | Path) -> Path:
        """Write the picture as ``.svg``, or its numbers as ``.csv``; the path.

        Raises:
            UserError: another ending, or the file can't be written.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".svg":
                write_text(path, self.svg())
            case ".csv":
                write_text(path, self.shown.to_csv())
            case _:
                raise UserError(f"{path}: allowed is a name that ends in .svg or .csv")
        return path

    def svg(self) -> str:
        """A whole SVG file on white paper, for whatever shows one."""
        sheet, draw = _sheet(), self.shown
        drawn = map_svg(draw, style=sheet) if isinstance(draw, Map) else svg(draw, style=sheet)
        return f'<?xml version="1.0" encoding="utf-8"?>\n{_sized(drawn)}\n'

    def _repr_svg_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        return f"Figure({self.name}: {self.shown.title})"


def figures(sweep: Sweep) -> Mapping[str, Figure]:
    """Every picture that this sweep has the data for, in the order of its report."""
    shown: list[Chart | Map] = [*charts(sweep)]
    drawn = difference_map(sweep)
    if drawn is not None:
        shown.insert(0, drawn)
    return {one.key: Figure(one) for one in shown}


def _sheet() -> str:
    """The style in light colours, put in for the variables that not every viewer knows."""
    sheet = resources.files("kdsweep.report").joinpath("chart.css").read_text(encoding="utf-8")
    light, rules = sheet.split("}", 1)[0], sheet[sheet.index(".chart {") :]
    colours = dict(re.findall(r"--(\w+): (#\w+);", light))
    return re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], rules)


def _sized(drawn: str) -> str:
    """The element with a size of its own, twice its units, for a page that gives it none."""
    width, height = re.findall(r'viewBox="0 0 (\d+) (\d+)"', drawn)[0]
    return drawn.replace("<svg ", f'<svg width="{2 * int(width)}" height="{2 * int(height)}" ', 1)
