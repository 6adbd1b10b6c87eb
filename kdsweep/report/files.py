"""The files of a report, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdsweep.report.charts import charts
from kdsweep.report.grid import grid
from kdsweep.report.html import Extra, render_html
from kdsweep.report.maps import difference_map
from kdsweep.report.markdown import render_markdown
from kdsweep.report.pictures import png, write_atomically
from kdsweep.report.svg import standalone
from kdsweep.results.data import Sweep

PICTURES = "pictures"  # the folder beside the report


def save_report(
    sweep: Sweep,
    folder: Path,
    *,
    extras: Sequence[Extra] = (),
    commands: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the report and the data of its pictures; the paths, the report's first.

    ``report.html`` is all of it, 5 MB; ``report-light.html`` the same with still pictures, for a
    mail or a slow line; ``report.md`` the same in Markdown; ``pictures/`` has the map as PNG,
    every other picture as SVG, and the data of each as CSV.
    """
    full = render_html(sweep, interactive=True, extras=extras, commands=commands)
    files = {
        "report.html": full,
        "report-light.html": render_html(sweep, interactive=False, commands=commands),
        "report.md": render_markdown(sweep, commands=commands),
    }
    found = grid(sweep)
    if found is not None:
        files[f"{PICTURES}/map.csv"] = found.to_csv(sweep)
    for chart in charts(sweep):
        files[f"{PICTURES}/{chart.key}.svg"] = standalone(chart)
        files[f"{PICTURES}/{chart.key}.csv"] = chart.to_csv()
    for extra in extras:
        files[f"{PICTURES}/{extra.key}.csv"] = extra.csv
    contents = {name: text.encode("utf-8") for name, text in files.items()}
    if found is not None:
        contents[f"{PICTURES}/map.png"] = png(difference_map(sweep))
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]
