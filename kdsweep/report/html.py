"""The whole report in one file that can be mailed: no script, no link, nothing loaded."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from kdsweep.report.pictures import figures as make_figures
from kdsweep.report.pictures import png, write_atomically
from kdsweep.report.style import DPI
from kdsweep.report.table import duration, interval, label, mean_and_sd, number, outcome
from kdsweep.results.data import COMPLETE, Row, Sweep, costs, notes, protocol, rows

_TITLES = {
    "accuracy": "Every cell",
    "difference_map": "Where distillation helps",
    "forest": "Difference from the baseline with its interval",
    "learning_curves": "Learning curves",
    "parameters": "Parameters",
    "size": "Size",
    "latency": "Inference time",
    "accuracy_against_size": "Accuracy against size",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem; border-bottom: 1px solid #eee; text-align: right;
         white-space: nowrap; vertical-align: top; }
th { border-bottom: 1px solid #999; font-weight: 600; vertical-align: bottom;
     white-space: normal; }
td:first-child, td.text, th.text { text-align: left; white-space: normal; }
td:first-child { min-width: 16em; padding-left: 0; } td.text { min-width: 11em; }
tr.baseline td { border-bottom: 1px solid #999; }
tr.baseline, tr.best { font-weight: 600; }
tr.unfinished { color: #777; }
.better { color: #0072B2; } .worse { color: #B34A00; } .equivalent { color: #007A59; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0.1rem 1.2rem; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f5f5f5; padding: 0.6rem 0.8rem; overflow-x: auto; }
figure { margin: 1.8rem 0; }
img { max-width: 100%; height: auto; }
""".strip()


def _paragraphs(texts: Iterable[str]) -> str:
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return "<dl>\n" + "\n".join(lines) + "\n</dl>"


def _table_row(row: Row, decimals: int) -> str:
    word, reason = outcome(row), f": {row.reason}" if row.reason else ""
    p_better = number(row.verdict.p_better, 3) if row.verdict else ""
    cells = [
        label(row),
        mean_and_sd(row, decimals),
        row.summary.count,
        number(row.difference, decimals, signed=True),
        interval(row, decimals),
        p_better,
    ]
    kind = row.role if row.state == COMPLETE else "unfinished"
    verdict_class = word if row.state == COMPLETE else ""
    return (
        f'<tr class="{kind}">'
        + "".join(f"<td>{escape(text)}</td>" for text in cells)
        + f'<td class="text {escape(verdict_class)}">{escape(word + reason)}</td>'
        + f"<td>{escape(duration(row.seconds))}</td></tr>"
    )


def _table(sweep: Sweep) -> str:
    unit = sweep.difference_unit
    heads = [
        "",
        f"{sweep.objective}, {sweep.unit} (mean ± sd)",
        "seeds n",
        f"difference from the baseline, {unit}",
        f"95 % simultaneous interval, {unit}",
        "P(better)",
    ]
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "\n".join(_table_row(row, sweep.decimals) for row in rows(sweep))
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}<th class="text">verdict</th>'
        f"<th>time</th></tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _figure(name: str, picture: bytes) -> str:
    title = escape(_TITLES.get(name, name))
    data = base64.b64encode(picture).decode("ascii")
    pixels = int.from_bytes(picture[16:20])  # the width in a PNG file's header
    width = round(pixels * 96 / DPI)  # CSS has 96 pixels to the inch
    return (
        f'<figure><img alt="{title}" width="{width}" src="data:image/png;base64,{data}"></figure>'
    )


def _commands(commands: Mapping[str, str]) -> str:
    return "\n".join(
        f"<p>{escape(purpose)}</p>\n<pre>{escape(command)}</pre>"
        for purpose, command in commands.items()
    )


def render_html(
    sweep: Sweep, *, pictures: Mapping[str, bytes], commands: Mapping[str, str] | None = None
) -> str:
    """The page as text; everything that comes from outside is escaped.

    Args:
        sweep: what to report.
        pictures: PNG files by name, shown in this order.
        commands: command lines by what they are for, such as opening the comparison.
    """
    question = (
        f"Does distillation help this student on {sweep.dataset}: where, by how much, "
        "and is it more than luck?"
    )
    sections = [
        ("Verdict", _paragraphs(sweep.verdict_lines) if sweep.verdict_lines else ""),
        ("Protocol", _definitions(protocol(sweep))),
        ("Cells", _table(sweep) + "\n" + _paragraphs(notes(sweep))),
        ("Costs", _definitions((name, ", ".join(facts)) for name, facts in costs(sweep))),
        ("Pictures", "\n".join(_figure(name, data) for name, data in pictures.items())),
        ("Commands", _commands(commands or {})),
    ]
    empty = ("", "<dl>\n\n</dl>")
    body = "\n".join(
        f"<section>\n<h2>{title}</h2>\n{content}\n</section>"
        for title, content in sections
        if content not in empty
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>kdsweep: {escape(sweep.study)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
        f"<body>\n<h1>{escape(sweep.study)}</h1>\n<p>{escape(question)}</p>\n"
        f"{body}\n</body>\n</html>\n"
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
