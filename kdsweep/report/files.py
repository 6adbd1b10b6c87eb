"""The files of a report, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdsweep.report.figure import figures
from kdsweep.report.html import Extra, render_html
from kdsweep.report.markdown import render_markdown
from kdsweep.results.data import Sweep
from kdsweep.store import write_text

DATA = "data"  # folders beside the report
PICTURES = "pictures"


def save_report(
    sweep: Sweep,
    folder: Path,
    *,
    extras: Sequence[Extra] = (),
    commands: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the report, its pictures and their data; the paths, the report's first.

    ``report.html`` is all of it, 5 MB; ``report-light.html`` the same with still pictures, for a
    mail or a slow line; ``report.md`` the same in Markdown; ``pictures/`` has each picture as
    SVG, and ``data/`` its numbers as CSV.
    """
    files = {
        "report.html": render_html(sweep, interactive=True, extras=extras, commands=commands),
        "report-light.html": render_html(sweep, interactive=False, commands=commands),
        "report.md": render_markdown(sweep, commands=commands),
    }
    for name, figure in figures(sweep).items():
        files[f"{PICTURES}/{name}.svg"] = figure.svg()
        files[f"{DATA}/{name}.csv"] = figure.shown.to_csv()
    for extra in extras:
        files[f"{DATA}/{extra.key}.csv"] = extra.csv
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]


def to_track(paths: Sequence[Path]) -> list[Path]:
    """Of a report's files the few that say all: the page, the text and the numbers."""
    whole = [path for path in paths if path.name in ("report.html", "report.md")]
    return whole + [path for path in paths if path.parent.name == DATA]
