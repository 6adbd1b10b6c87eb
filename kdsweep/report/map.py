"""The map as a picture: every word of it ready, whoever draws it, and the same as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kdsweep.report.chart import csv_text
from kdsweep.report.grid import Grid, Shown, grid, shown_average, shown_place
from kdsweep.results.data import Sweep


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """The cells of one value of the axis that goes down, and their mean."""

    name: str
    places: tuple[Shown, ...]
    average: Shown


@dataclass(frozen=True, kw_only=True)
class Map:
    """Differences from the baseline over two axes of numbers, with their verdicts."""

    key: ClassVar[str] = "map"
    title: str
    caption: str
    x_name: str
    y_name: str
    x: tuple[str, ...]
    rows: tuple[MapRow, ...]  # from the top, where y is largest
    averages: tuple[Shown, ...]  # of the columns
    whole: Shown
    averaged: bool  # whether there is a verdict on any row or column
    table: tuple[tuple[object, ...], ...]  # the places as numbers, under their heads

    def to_csv(self) -> str:
        """A line for each place: where it is, difference, interval, verdict."""
        return csv_text(self.table)


def difference_map(sweep: Sweep) -> Map | None:
    """Of a sweep over two axes of numbers; None of any other."""
    found = grid(sweep)
    if found is None:
        return None
    x_name, y_name = (key.rpartition(".")[2] for key in (found.x_key, found.y_key))
    rows = [
        MapRow(
            name=f"{y:g}",
            places=tuple(shown_place(sweep, found, place) for place in places),
            average=shown_average(sweep, found, verdict, f"mean of {y_name}={y:g}"),
        )
        for y, places, verdict in zip(found.y, found.places, found.y_averages, strict=True)
    ]
    columns = [
        shown_average(sweep, found, verdict, f"mean of {x_name}={x:g}")
        for x, verdict in zip(found.x, found.x_averages, strict=True)
    ]
    return Map(
        title="Where does it help?",
        caption=(
            f"Difference from the student alone, {sweep.difference_unit} of {sweep.objective}, "
            "with its 95 % interval."
        ),
        x_name=x_name,
        y_name=y_name,
        x=tuple(f"{x:g}" for x in found.x),
        rows=tuple(reversed(rows)),
        averages=tuple(columns),
        whole=shown_average(sweep, found, found.whole, "mean of all cells"),
        averaged=any(found.x_averages) or any(found.y_averages),
        table=tuple(_table(found)),
    )


def _table(found: Grid) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = [
        (found.y_key, found.x_key, "difference", "low", "high", "verdict", "n", "state")
    ]
    for y, row in zip(found.y, found.places, strict=True):
        for x, p in zip(found.x, row, strict=True):
            v = p.verdict
            interval = ("", "", "") if v is None else (v.low, v.high, v.word)
            gap = "" if p.difference is None else p.difference
            lines.append((y, x, gap, *interval, p.n, p.state))
    return lines
