"""The map of a sweep over two numbers, with the verdicts of its rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdsweep.report.words import number, shape, verdict_text, whole
from kdsweep.results.data import (
    Cell,
    CellVerdict,
    Sweep,
    best_cell,
    difference,
    summarise,
)
from kdsweep.results.record import COMPLETE

_ACROSS = 10  # columns that stay readable on a page


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place of the map."""

    cell: Cell | None  # None where no cell was swept
    difference: float | None = None  # from the baseline
    n: int = 0
    best: bool = False

    @property
    def state(self) -> str:
        """Empty where no cell was swept."""
        return "" if self.cell is None else self.cell.state

    @property
    def verdict(self) -> CellVerdict | None:
        """None where none was given."""
        return None if self.cell is None else self.cell.verdict


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells by two numeric axes; rows are y, rising, columns x."""

    x_key: str
    y_key: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    places: tuple[tuple[Place, ...], ...]
    x_averages: tuple[CellVerdict | None, ...]  # over each column
    y_averages: tuple[CellVerdict | None, ...]  # over each row
    whole: CellVerdict | None  # over all cells

    @property
    def scale(self) -> float:
        """The largest difference of a cell, whose colour is the strongest."""
        gaps = [abs(p.difference) for row in self.places for p in row if p.difference is not None]
        return max(gaps, default=1.0) or 1.0


def grid(sweep: Sweep) -> Grid | None:
    """The map of a sweep over exactly two numeric axes, at least half of it visited.

    The axis swept first goes across, or down if it is the longer one and does not fit a page.
    Of the cells that share a place the first complete one is shown.
    """
    keys = list(dict.fromkeys(key for cell in sweep.cells for key in cell.values))
    swept = [k for k in keys if len({repr(c.values.get(k)) for c in sweep.cells}) > 1]
    if sweep.baseline is None or len(swept) != 2:
        return None
    if not all(_is_number(cell.values.get(k)) for cell in sweep.cells for k in swept):
        return None
    found: dict[tuple[float, float], Cell] = {}
    lengths = [len({repr(cell.values[k]) for cell in sweep.cells}) for k in swept]
    x_key, y_key = reversed(swept) if lengths[0] > max(_ACROSS, lengths[1]) else swept
    for cell in sorted(sweep.cells, key=lambda c: c.state != COMPLETE):
        place = (float(str(cell.values[y_key])), float(str(cell.values[x_key])))
        found.setdefault(place, cell)
    x = tuple(sorted({place[1] for place in found}))
    y = tuple(sorted({place[0] for place in found}))
    if 2 * len(found) < len(x) * len(y):
        return None
    best = best_cell(sweep)
    return Grid(
        x_key=x_key,
        y_key=y_key,
        x=x,
        y=y,
        places=tuple(tuple(_place(sweep, found.get((b, a)), best) for a in x) for b in y),
        x_averages=_averages(sweep.averages, x_key, x),
        y_averages=_averages(sweep.averages, y_key, y),
        whole=whole(sweep),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _place(sweep: Sweep, cell: Cell | None, best: Cell | None) -> Place:
    if cell is None:
        return Place(cell=None)
    n = summarise(cell.accuracy_by_seed).n
    return Place(cell=cell, difference=difference(sweep, cell), n=n, best=cell is best)


def _averages(
    given: Mapping[str, CellVerdict], key: str, values: Sequence[float]
) -> tuple[CellVerdict | None, ...]:
    """The averages along an axis by its values, as ``alpha 0.9`` names one."""
    axis = key.rpartition(".")[2]
    named = [(label.rpartition(" "), verdict) for label, verdict in given.items()]
    known = {float(value): verdict for (name, _, value), verdict in named if name == axis}
    return tuple(known.get(value) for value in values)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How a place, or an average, is shown: the same on a page and in Markdown."""

    kind: str  # better, worse, equivalent, open, none, or unfinished
    main: str  # mark and difference
    interval: str
    detail: str  # all of it in words
    strength: int = 0  # percent: how far the colour goes
    best: bool = False


def shown_place(sweep: Sweep, found: Grid, place: Place) -> Shown:
    """A cell of the map; what is not decided shows its interval before its difference."""
    if place.cell is None:
        return Shown(kind="none", main="", interval="", detail="not swept")
    label = place.cell.label
    if place.state != COMPLETE:
        detail = f"{label}: {place.state}"
        return Shown(kind="unfinished", main=place.state, interval="", detail=detail)
    if place.verdict is not None:
        text = verdict_text(sweep, place.verdict)
        detail = f"{label}: {text}, n = {place.n}"
        return _shown(sweep, found, place.verdict, detail, best=place.best)
    gap = number(place.difference, sweep.decimals, signed=True)
    detail = f"{label}: {gap} {sweep.difference_unit}, no verdict, n = {place.n}"
    return Shown(kind="open", main=gap, interval="", detail=detail, best=place.best)


def shown_average(sweep: Sweep, found: Grid, verdict: CellVerdict | None, over: str) -> Shown:
    """The average of a row, a column or the whole."""
    if verdict is None:
        return Shown(kind="none", main="", interval="", detail=f"{over}: no verdict")
    return _shown(sweep, found, verdict, f"{over}: {verdict_text(sweep, verdict)}")


def _shown(sweep: Sweep, found: Grid, v: CellVerdict, detail: str, *, best: bool = False) -> Shown:
    gap = number(v.difference, sweep.decimals, signed=True)
    decimals = max(1, sweep.decimals - 1)
    low, high = (number(end, decimals, signed=True) for end in (v.low, v.high))
    return Shown(
        kind=v.word,
        main=f"{shape(v.word)} {gap}",
        interval=f"{low}…{high}",
        detail=detail,
        strength=round(25 + 50 * min(1.0, abs(v.difference) / found.scale)),
        best=best,
    )
