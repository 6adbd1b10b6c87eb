"""The table of all cells as columns, for a page that sorts them and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from kdsweep.report.words import duration, interval_text, number, shape, spread_text
from kdsweep.results.data import Measures, Row, Summary, Sweep, rows
from kdsweep.results.provenance import portable
from kdsweep.results.record import COMPLETE


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One field: what is read, what it is sorted by, and the role that colours it."""

    text: str
    key: float | str | None = None
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column with its fields in the order of the rows: teacher, baseline, cells."""

    title: str
    entries: tuple[Entry, ...]
    numeric: bool = True


def columns(sweep: Sweep) -> list[Column]:
    """All columns in which there is something."""
    lines, d = rows(sweep), sweep.decimals
    models = [model.measures for model in (sweep.teacher, sweep.baseline) if model is not None]
    measures = [*models, *(cell.measures for cell in sweep.cells)]

    def measured(title: str, pick: Callable[[Measures], Summary | None], decimals: int) -> Column:
        values = [None if (s := pick(m)) is None else s.mean for m in measures]
        return Column(
            title=title, entries=tuple(Entry(text=number(v, decimals), key=v) for v in values)
        )

    made = [
        Column(title="cell", entries=tuple(map(_name, lines)), numeric=False),
        Column(title="verdict", entries=tuple(map(_outcome, lines)), numeric=False),
        Column(
            title=f"difference, {sweep.difference_unit}",
            entries=tuple(
                Entry(text=number(r.difference, d, signed=True), key=r.difference) for r in lines
            ),
        ),
        Column(
            title="95 % interval",
            entries=tuple(
                Entry(text="")
                if r.verdict is None
                else Entry(text=interval_text(sweep, r.verdict), key=r.verdict.low)
                for r in lines
            ),
        ),
        Column(
            title=f"{sweep.objective}, mean ± sd",
            entries=tuple(_mean(sweep, r) for r in lines),
        ),
        Column(title="seeds", entries=tuple(_count(r) for r in lines)),
        Column(
            title="P(better)",
            entries=tuple(
                Entry(text="")
                if r.verdict is None
                else Entry(text=number(r.verdict.p_better, 3), key=r.verdict.p_better)
                for r in lines
            ),
        ),
        measured("agreement, %", lambda m: m.agreement, 2),
        measured("KL to teacher, nats", lambda m: m.fidelity_kl, 4),
        measured("ECE", lambda m: m.ece, 4),
        measured("NLL, nats", lambda m: m.nll, 4),
        Column(
            title="time",
            entries=tuple(Entry(text=duration(r.seconds), key=r.seconds) for r in lines),
        ),
    ]
    return [column for column in made if any(entry.text for entry in column.entries)]


def _name(row: Row) -> Entry:
    network = row.role in ("teacher", "baseline")
    text = f"{row.role} {row.label}" if network else row.label
    text += " *" if row.role == "best" else ""
    return Entry(text=text, key=text, role=row.role if network or row.role == "best" else "")


def _outcome(row: Row) -> Entry:
    if row.state != COMPLETE:
        reason = f": {portable(row.reason)}" if row.reason else ""
        return Entry(text=f"{row.state}{reason}", key=row.state, role="unfinished")
    if row.verdict is None:
        return Entry(text="")
    word = row.verdict.word
    shown = "not decided" if word == "open" else word
    return Entry(text=f"{shape(word)} {shown}", key=word, role=word)


def _mean(sweep: Sweep, row: Row) -> Entry:
    mean = row.summary.mean
    if not math.isfinite(mean):
        return Entry(text="")
    return Entry(text=spread_text(sweep, mean, row.summary.sd), key=mean)


def _count(row: Row) -> Entry:
    return Entry(text=row.summary.count, key=float(row.summary.n))
