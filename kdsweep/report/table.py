"""The table at the end of a sweep, for a terminal of any width and for a plain file.

Nothing is cut: a label folds, a column that does not fit is named below the table, and where
not even the numbers fit beside one another each cell gets a paragraph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kdsweep.report.answer import UNBOUNDED, answer
from kdsweep.report.words import STYLES, duration, number
from kdsweep.results.data import Row, Sweep, rows
from kdsweep.results.facts import costs, notes
from kdsweep.results.record import COMPLETE

_LABEL_WIDTH = 24  # columns below which a label gives way to nothing optional
_LABEL_MINIMUM = 12


@dataclass(frozen=True)
class _Column:
    header: str
    texts: list[str]
    optional: bool = False
    left: bool = False

    @property
    def width(self) -> int:
        lines = [*self.header.split("\n"), *self.texts]
        return max(Text(line).cell_len for line in lines)


def interval(row: Row, decimals: int) -> str:
    """The simultaneous interval of the difference."""
    v = row.verdict
    if v is None:
        return ""
    return f"{number(v.low, decimals, signed=True)}, {number(v.high, decimals, signed=True)}"


def mean_and_sd(row: Row, decimals: int, *, sign: str = "±") -> str:
    """``72.70 ± 0.21``; the mean alone with one seed."""
    mean, sd = number(row.summary.mean, decimals), number(row.summary.sd, decimals)
    return f"{mean} {sign} {sd}" if sd else mean


def outcome(row: Row) -> str:
    """The verdict's word, or why there is none."""
    if row.state != COMPLETE:
        return row.state
    return row.verdict.word if row.verdict else ""


def label(row: Row) -> str:
    """The row's name: networks with their role, the best cell with its asterisk."""
    if row.role in ("teacher", "baseline"):
        return f"{row.role} {row.label}"
    return f"{row.label} *" if row.role == "best" else row.label


def _columns(sweep: Sweep, lines: Sequence[Row], sign: str) -> list[_Column]:
    """All but the label, those that nobody has a value for left out."""
    d, unit = sweep.decimals, sweep.difference_unit
    columns = [
        _Column(
            f"{sweep.objective}\nmean {sign} sd, {sweep.unit}",
            [mean_and_sd(r, d, sign=sign) for r in lines],
        ),
        _Column("\nn", [r.summary.count for r in lines]),
        _Column(f"delta\n{unit}", [number(r.difference, d, signed=True) for r in lines]),
        _Column("\nverdict", [outcome(r) for r in lines], left=True),
        _Column("95 %\ninterval", [interval(r, d) for r in lines], optional=True),
        _Column(
            "\nP(better)",
            [number(r.verdict.p_better, 3) if r.verdict else "" for r in lines],
            optional=True,
        ),
        _Column("\ntime", [duration(r.seconds) for r in lines], optional=True),
    ]
    return [column for column in columns if any(column.texts)]


def _style(row: Row, word: str) -> str:
    return STYLES.get(word) or STYLES.get(row.role, "")


def _stacked(sweep: Sweep, lines: Sequence[Row], sign: str) -> list[RenderableType]:
    """A paragraph for each row, for a terminal too narrow for columns."""
    parts: list[RenderableType] = []
    for row in lines:
        mean = mean_and_sd(row, sweep.decimals, sign=sign)
        gap = number(row.difference, sweep.decimals, signed=True)
        facts = [
            f"{mean} {sweep.unit}, n {row.summary.count}" if mean else "",
            f"delta {gap} {sweep.difference_unit}" if gap else "",
            f"95 % interval {interval(row, sweep.decimals)}" if row.verdict else "",
            outcome(row),
            duration(row.seconds),
        ]
        parts.append(Text(label(row), style=_style(row, "")))
        parts.append(Padding(Text(", ".join(filter(None, facts))), (0, 0, 0, 2)))
    return parts


def _tabular(
    lines: Sequence[Row], columns: Sequence[_Column], label_width: int
) -> list[RenderableType]:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", width=label_width, overflow="fold")
    for column in columns:
        table.add_column(
            column.header,
            justify="left" if column.left else "right",
            no_wrap=True,
            width=column.width,
        )
    for i, row in enumerate(lines):
        texts = [
            Text(c.texts[i], style=_style(row, c.texts[i]) if c.left else "") for c in columns
        ]
        table.add_row(
            Text(label(row), style=_style(row, "")),
            *texts,
            end_section=row.role in ("teacher", "baseline")
            and (i + 1 == len(lines) or lines[i + 1].role not in ("teacher", "baseline")),
        )
    return [table]


def _below(sweep: Sweep, lines: Sequence[Row], left_out: Sequence[_Column]) -> list[str]:
    texts = notes(sweep)
    if left_out:
        names = ", ".join(c.header.replace("\n", " ").strip() for c in left_out)
        texts.append(f"A wider terminal also shows: {names}.")
    texts += [f"{name}: {', '.join(facts)}" for name, facts in costs(sweep)]
    unfinished: dict[str, list[str]] = {}
    for row in lines:
        if row.state != COMPLETE:
            why = row.state + (f": {row.reason}" if row.reason else "")
            unfinished.setdefault(why, []).append(row.label)
    return texts + [f"{', '.join(labels)} {why}" for why, labels in unfinished.items()]


def sweep_table(sweep: Sweep, *, width: int | None, plain: bool = False) -> RenderableType:
    """All that a terminal shows of a sweep: the details, then the answer with its map.

    Args:
        sweep: what to show.
        width: columns to stay within; ``None`` for as many as it takes.
        plain: nothing but ASCII of its own.
    """
    return Group(
        details(sweep, width=width, plain=plain), "", answer(sweep, width=width, plain=plain)
    )


def details(sweep: Sweep, *, width: int | None, plain: bool = False) -> RenderableType:
    """The table with its title, notes, unfinished cells and all verdicts but the answer.

    Args:
        sweep: what to show.
        width: columns to stay within; ``None`` for as many as it takes.
        plain: nothing but ASCII of its own.
    """
    lines, sign = rows(sweep), "+-" if plain else "±"
    columns = _columns(sweep, lines, sign)
    labels = max((Text(label(row)).cell_len for row in lines), default=0)

    def used(chosen: Sequence[_Column]) -> int:
        return sum(column.width + 2 for column in chosen)

    def fits(chosen: Sequence[_Column], label_width: int) -> bool:
        return width is None or used(chosen) + label_width <= width

    shown = [column for column in columns if not column.optional]
    tabular = fits(shown, min(labels, _LABEL_MINIMUM))
    for column in columns:
        if column.optional and fits([*shown, column], min(labels, _LABEL_WIDTH)):
            shown.append(column)
    left_out = [column for column in columns if column not in shown] if tabular else []
    if tabular:
        body = _tabular(
            lines, shown, labels if width is None else min(labels, width - used(shown))
        )
    else:
        body = _stacked(sweep, lines, sign)
    title = (
        f"{sweep.study}: {sweep.dataset}, {sweep.objective} in {sweep.unit} "
        f"on the {sweep.split} split; delta is the difference from the baseline"
    )
    parts: list[RenderableType] = [Text(title, style="bold"), Text(""), *body]
    for block in (_below(sweep, lines, left_out), sweep.verdict_lines[1:]):
        if block:
            parts += [Text(""), *(Text(text) for text in block)]
    return Group(*parts)


class Part(Protocol):
    """Something of a sweep that can be printed."""

    def __call__(self, sweep: Sweep, *, width: int | None, plain: bool = False) -> RenderableType:
        """It, within so many columns."""
        ...


def print_sweep(sweep: Sweep, *, part: Part = sweep_table, console: Console | None = None) -> None:
    """Print it: styled on a terminal; as plain text, as wide as it takes, elsewhere.

    Args:
        sweep: what to show.
        part: of it; ``details`` or ``answer``.
        console: where; None: the standard output.
    """
    console = console or Console(force_jupyter=False)
    ascii_only = console.options.ascii_only
    if console.is_terminal:
        console.print(part(sweep, width=console.width, plain=ascii_only))
        return
    whole = Console(file=console.file, width=UNBOUNDED, color_system=None, force_jupyter=False)
    with whole.capture() as captured:
        whole.print(part(sweep, width=None, plain=ascii_only))
    lines = (line.rstrip() for line in captured.get().splitlines())
    console.file.write("\n".join(lines) + "\n")
