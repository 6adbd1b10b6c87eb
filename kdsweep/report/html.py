"""The whole report in one file that can be mailed: no script, no link, nothing loaded."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from kdsweep.report.pictures import figures as make_figures
from kdsweep.report.pictures import png, write_atomically
from kdsweep.report.style import DPI
from kdsweep.report.table import duration, interval, label, mean_and_sd, number, outcome
from kdsweep.results.data import COMPLETE, Row, Sweep, costs, notes, protocol, rows

_TITLES = {
    "accuracy": "Every cell",
    "difference_map": "Where distillation helps",
    "forest": "Difference from the baseline with its interval",
    "race": "How the cells were decided, round by round",
    "learning_curves": "Learning curves",
    "parameters": "Parameters",
    "size": "Size",
    "latency": "Inference time",
    "accuracy_against_size": "Accuracy against size",
}


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A row of the table in words."""

    kind: str
    numbers: list[str]
    verdict_class: str
    outcome: str
    time: str


@dataclass(frozen=True, kw_only=True)
class _Picture:
    title: str
    width: int  # CSS pixels
    data: str  # base64


def render_html(
    sweep: Sweep, *, pictures: Mapping[str, bytes], commands: Mapping[str, str] | None = None
) -> str:
    """The page as text; everything that comes from outside is escaped.

    Args:
        sweep: what to report.
        pictures: PNG files by name, shown in this order.
        commands: command lines by what they are for, such as opening the comparison.
    """
    return _template("page.html").render(
        sweep=sweep,
        protocol=protocol(sweep),
        rows=[_line(row, sweep.decimals) for row in rows(sweep)],
        notes=notes(sweep),
        costs=[(name, ", ".join(facts)) for name, facts in costs(sweep)],
        pictures=[_picture(name, data) for name, data in pictures.items()],
        commands=commands or {},
    )


def render_table(sweep: Sweep) -> str:
    """The table, its notes and the verdict, as a part of somebody else's page."""
    return _template("part.html").render(
        sweep=sweep, rows=[_line(row, sweep.decimals) for row in rows(sweep)], notes=notes(sweep)
    )


def _template(name: str) -> Template:
    return Environment(
        loader=PackageLoader("kdsweep.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template(name)


def _line(row: Row, decimals: int) -> _Line:
    complete = row.state == COMPLETE
    return _Line(
        kind=row.role if complete else "unfinished",
        numbers=[
            label(row),
            mean_and_sd(row, decimals),
            row.summary.count,
            number(row.difference, decimals, signed=True),
            interval(row, decimals),
            number(row.verdict.p_better, 3) if row.verdict else "",
        ],
        verdict_class=outcome(row) if complete else "",
        outcome=outcome(row) + (f": {row.reason}" if row.reason else ""),
        time=duration(row.seconds),
    )


def _picture(name: str, content: bytes) -> _Picture:
    pixels = int.from_bytes(content[16:20])  # the width in a PNG file's header
    return _Picture(
        title=_TITLES.get(name, name),
        width=round(pixels * 96 / DPI),  # CSS has 96 pixels to the inch
        data=base64.b64encode(content).decode("ascii"),
    )


def save_report(
    sweep: Sweep, folder: Path, *, commands: Mapping[str, str] | None = None
) -> list[Path]:
    """Write ``report.html`` and its pictures as PNG files; the paths, the report's first."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {name: png(figure) for name, figure in make_figures(sweep).items()}
    paths = [folder / f"{name}.png" for name in pictures]
    for path, content in zip(paths, pictures.values(), strict=True):
        write_atomically(path, content)
    report = folder / "report.html"
    page = render_html(sweep, pictures=pictures, commands=commands)
    write_atomically(report, page.encode("utf-8"))
    return [report, *paths]
