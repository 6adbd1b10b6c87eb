"""The report in Markdown, for an issue, a wiki or a model's card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kdsweep.report.cells import columns
from kdsweep.report.grid import Grid, Shown, grid, shown_average, shown_place
from kdsweep.report.headline import headline
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
    found = grid(sweep)
    if found is not None:
        lines += ["", "## Where does it help?", "", *_map(sweep, found)]
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
        if command:
            lines += ["", f"{_text(purpose)}:", "", f"    {command}"]
    return "\n".join(lines) + "\n"


def _map(sweep: Sweep, found: Grid) -> Iterator[str]:
    x_name, y_name = (key.rpartition(".")[2] for key in (found.x_key, found.y_key))
    heads = [f"{y_name} \\ {x_name}", *(f"{x:g}" for x in found.x), "mean"]
    body = []
    for y, places, average in zip(found.y, found.places, found.y_averages, strict=True):
        shown = [shown_place(sweep, found, place) for place in places]
        body.append([f"{y:g}", *map(_field, [*shown, shown_average(sweep, found, average, "")])])
    means = [shown_average(sweep, found, v, "") for v in (*found.x_averages, found.whole)]
    yield from _table(heads, [*reversed(body), ["mean", *map(_field, means)]])
    yield ""
    yield f"Difference in {_text(sweep.difference_unit)}. ▲ better, ▼ worse, ■ no difference that "
    yield "matters, ○ not decided."


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
