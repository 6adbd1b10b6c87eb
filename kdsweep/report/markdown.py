"""The report in Markdown, for an issue, a wiki or a model's card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kdsweep.report.cells import columns
from kdsweep.report.grid import Shown
from kdsweep.report.headline import headline
from kdsweep.report.map import Map, difference_map
from kdsweep.results.data import Sweep
from kdsweep.results.facts import costs, notes, protocol
from kdsweep.results.provenance import portable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def render_markdown(sweep: Sweep, *, commands: Mapping[str, str] | None = None) -> str:
    """Headline, map, table, what was run and how; words from outside are escaped."""
    top = headline(sweep)
    lines = [
        f"# {_text(sweep.study)}",
        "",
        _text(top.question),
        "",
        f"**{_text(top.answer)}**",
        "",
        f"Next: {_text(top.advice)}",
    ]
    found = difference_map(sweep)
    if found is not None:
        lines += ["", f"## {found.title}", "", *_map(found)]
    if sweep.verdict_lines:
        lines += ["", "## The verdict in words", "", *_items(map(portable, sweep.verdict_lines))]
    table = columns(sweep)
    lines += ["", "## All cells", ""]
    lines += _table(
        [column.title for column in table],
        zip(*([entry.text for entry in column.entries] for column in table), strict=True),
    )
    lines += ["", *_items(notes(sweep))]
    facts = [*protocol(sweep), *((name, ", ".join(what)) for name, what in costs(sweep))]
    run = sweep.provenance
    facts += [] if run is None else run.facts
    lines += ["", "## What was run", "", *_table(["", ""], facts)]
    all_commands = {} if run is None else {"All of it": run.command, "The best cell": run.best}
    all_commands |= {name: portable(command) for name, command in (commands or {}).items()}
    for purpose, command in all_commands.items():
        if command and (run is None or purpose != "The best cell" or command != run.command):
            lines += ["", f"{_text(purpose)}:", "", f"    {command}"]
    return "\n".join(lines) + "\n"


def _map(found: Map) -> Iterator[str]:
    heads = [f"{found.y_name} \\ {found.x_name}", *found.x, "mean"]
    body = [[row.name, *map(_field, (*row.places, row.average))] for row in found.rows]
    means = ["mean", *map(_field, (*found.averages, found.whole))]
    yield from _table(heads, [*body, means])
    yield ""
    yield f"{_text(found.caption)} ▲ better, ▼ worse, ■ no difference that matters, ○ not decided."


def _field(shown: Shown) -> str:
    if shown.kind == "open" and shown.interval:
        return f"○ {shown.interval}"
    return f"{shown.main} ({shown.interval})" if shown.interval else shown.main


def _items(texts: Iterable[str]) -> list[str]:
    return [f"- {_text(text)}" for text in texts]


def _table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (heads, ["---"] * len(heads), *body):
        shown = line if line[0] == "---" else map(_text, line)
        yield f"| {' | '.join(shown)} |"


def _text(text: str) -> str:
    """One line that shows every character as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
