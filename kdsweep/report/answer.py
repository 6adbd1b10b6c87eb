"""The last screen of a sweep: the answer in a sentence, and a small map or list of the cells."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdsweep.report.grid import Grid, Place, grid
from kdsweep.report.headline import headline
from kdsweep.report.words import SHAPES, STYLES, number
from kdsweep.results.data import Cell, Sweep, best_cell, difference
from kdsweep.results.record import COMPLETE

UNBOUNDED = 10_000  # columns
LISTED = 8  # cells at most, where they make no map
_ASCII = {"better": "B", "worse": "W", "equivalent": "=", "open": "?"}
_WORDS = {"better": "better", "worse": "worse", "equivalent": "equivalent", "open": "not decided"}


def answer(sweep: Sweep, *, width: int | None, plain: bool = False) -> RenderableType:
    """The sentence, then the map of two axes, or the cells in a list.

    Args:
        sweep: what to show.
        width: columns to stay within; ``None`` for as many as it takes.
        plain: nothing but ASCII of its own.
    """
    sentence = sweep.verdict_lines[0] if sweep.verdict_lines else headline(sweep).answer
    parts: list[RenderableType] = [Text(sentence, style="bold")]
    if sweep.caveat:
        parts.append(Text(sweep.caveat, style="yellow"))
    marks = _ASCII if plain else SHAPES
    found = grid(sweep)
    shown = None if found is None else _map(sweep, found, width or UNBOUNDED, marks)
    shown = shown or _list(sweep, width or UNBOUNDED, marks)
    return Group(*parts, *shown)


def marked(sweep: Sweep, cell: Cell, gap: float | None, marks: dict[str, str]) -> str:
    """``▲ +1.64``; what is not decided has its difference in brackets: ``○ (+0.40)``."""
    text = number(gap, sweep.decimals, signed=True)
    if cell.state != COMPLETE:
        return cell.state
    if cell.verdict is None:
        return text
    word = cell.verdict.word
    return f"{marks[word]} ({text})" if word == "open" else f"{marks[word]} {text}"


def _map(
    sweep: Sweep, found: Grid, width: int, marks: dict[str, str]
) -> list[RenderableType] | None:
    """The differences over two axes; None where they don't fit."""

    def entry(place: Place) -> str:
        if place.cell is None:
            return ""
        star = "*" if place.best else ""
        return marked(sweep, place.cell, place.difference, marks) + star

    x_name, y_name = found.x_key.rsplit(".", 1)[-1], found.y_key.rsplit(".", 1)[-1]
    body = [[entry(place) for place in row] for row in found.places]
    left = [f"{y_name} {y:g}" for y in found.y]
    heads = [f"{x_name} {x:g}" if j == 0 else f"{x:g}" for j, x in enumerate(found.x)]
    needed = max(map(len, left)) + sum(
        2 + max(len(heads[j]), *(len(row[j]) for row in body)) for j in range(len(heads))
    )
    if needed > width:
        return None
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name, texts, row in zip(left, body, found.places, strict=True):
        styled = [
            Text(text, style=_style(place.cell, best=place.best))
            for text, place in zip(texts, row, strict=True)
        ]
        table.add_row(name, *styled)
    return [Text(f"\nDelta, {sweep.difference_unit}"), table, *_legend(sweep, marks)]


def _style(cell: Cell | None, *, best: bool) -> str:
    if best:
        return "bold"
    return STYLES.get(cell.verdict.word, "") if cell is not None and cell.verdict else ""


def _legend(sweep: Sweep, marks: dict[str, str]) -> list[RenderableType]:
    words = {cell.verdict.word for cell in sweep.cells if cell.verdict is not None}
    shown = [f"{marks[word]} {_WORDS[word]}" for word in marks if word in words]
    return [Text(", ".join([*shown, "* best mean"]))] if shown else []


def _list(sweep: Sweep, width: int, marks: dict[str, str]) -> list[RenderableType]:
    """The cells with their differences and intervals; of many the best ones."""
    gaps = {id(cell): difference(sweep, cell) for cell in sweep.cells}
    known = [cell for cell in sweep.cells if gaps[id(cell)] is not None]
    if len(sweep.cells) < 2 or not known:
        return []
    sign = 1 if sweep.maximize else -1
    by_gap = sorted(known, key=lambda cell: -sign * (gaps[id(cell)] or 0.0))
    kept = known if len(known) <= LISTED else by_gap[:LISTED]
    best = best_cell(sweep)
    rows = [_row(sweep, cell, gaps[id(cell)], marks, best=cell is best) for cell in kept]
    columns = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [_joined(row, columns, width) for row in rows]
    texts = [
        Text(line, style=_style(cell, best=cell is best))
        for line, cell in zip(lines, kept, strict=True)
    ]
    rest = len(sweep.cells) - len(kept)
    more = [Text(f"and {rest} more cells, in the table above")] if len(known) > LISTED else []
    head = Text(f"\nDelta, {sweep.difference_unit}")
    return [head, *texts, *more, *_legend(sweep, marks)]


def _row(
    sweep: Sweep, cell: Cell, gap: float | None, marks: dict[str, str], *, best: bool
) -> tuple[str, str, str]:
    interval = ""
    if cell.verdict is not None:
        low, high = (
            number(end, sweep.decimals, signed=True)
            for end in (cell.verdict.low, cell.verdict.high)
        )
        interval = f"[{low}, {high}]"
    label = f"{cell.label} *" if best else cell.label
    return label, marked(sweep, cell, gap, marks), interval


def _joined(row: Sequence[str], columns: Sequence[int], width: int) -> str:
    """Label, difference and interval in columns; the interval goes where there is no room."""
    label, gap, interval = row
    whole = f"{label:{columns[0]}}  {gap:>{columns[1]}}  {interval:>{columns[2]}}".rstrip()
    if len(whole) <= width:
        return whole
    return f"{label:{columns[0]}}  {gap:>{columns[1]}}"
