"""A picture as data: what it shows, whoever draws it, and the same as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Mark = Literal["bar", "marker", "line"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a chart."""

    title: str
    log: bool = False
    whole: bool = False  # its values are whole numbers


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value; in a chart of rows ``x`` is it, and ``y`` the row, from 0 at the top."""

    x: float
    y: float
    low: float = math.nan  # the ends of its interval: along x in a chart of rows, else along y
    high: float = math.nan
    name: str = ""
    note: str = ""  # what a reader who points at it is shown beside its name


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that are drawn alike. The role chooses the colour, and of markers the shape."""

    role: str  # teacher, baseline, distilled, best, worst, better, worse, equivalent, open
    points: tuple[Point, ...]
    mark: Mark = "marker"
    name: str = ""  # in the legend, which leaves it out where it is empty
    dashed: bool = False
    faint: bool = False
    texts: tuple[str, ...] = ()  # behind each point


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of two numbers, or of one number for each of some rows."""

    key: str  # its files are named after it
    title: str
    caption: str  # what it shows and how to read it, in a sentence or two
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    rows: tuple[str, ...] = ()  # from the top; none where y is a number
    line: float | None = None  # to compare with: along y in a chart of rows, else along x
    zone: tuple[float, float] | None = None  # about the line

    @property
    def values(self) -> list[float]:
        """All values along the axis that intervals are along, with the ends of these."""
        points = [point for series in self.series for point in series.points]
        mains = [point.x if self.rows else point.y for point in points]
        ends = [end for point in points for end in (point.low, point.high)]
        return [value for value in (*mains, *ends) if math.isfinite(value)]

    def to_csv(self) -> str:
        """Every point with its series, name and interval."""
        columns = [self.x.title] if self.rows else [self.x.title, self.y.title]
        lines: list[Sequence[object]] = [["series", "name", *columns, "low", "high", "note"]]
        for series in self.series:
            for p in series.points:
                place = [p.x] if self.rows else [p.x, p.y]
                numbers = ["" if math.isnan(v) else v for v in (*place, p.low, p.high)]
                lines.append([series.name or series.role, p.name, *numbers, p.note])
        return csv_text(lines)


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Lines as CSV in which no spreadsheet takes a text for a formula and runs it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for line in lines:
        writer.writerow([_harmless(value) for value in line])
    return buffer.getvalue()


def _harmless(value: object) -> object:
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value
