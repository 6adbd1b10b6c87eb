"""The whole report in one file that works offline and can be passed on: nothing is loaded."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from kdsweep.report.cells import Column, columns
from kdsweep.report.chart import Chart
from kdsweep.report.charts import charts
from kdsweep.report.headline import Headline, headline
from kdsweep.report.interactive import figure
from kdsweep.report.map import difference_map
from kdsweep.report.svg import svg
from kdsweep.results.data import Sweep
from kdsweep.results.facts import costs, notes, protocol
from kdsweep.results.provenance import portable

_SECTIONS = (
    ("Is it more than luck?", ("race", "forest")),
    ("How they learned", ("learning_curves", "accuracy")),
    ("What it costs", ("parameters", "size", "latency", "accuracy_against_size")),
    ("What was learned", ("fidelity", "calibration", "reliability")),
)


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A plotly figure that somebody else has made, such as one of Optuna's."""

    key: str
    title: str
    caption: str
    json: str
    csv: str


@dataclass(frozen=True, kw_only=True)
class _Picture:
    key: str
    title: str
    caption: str
    svg: Markup  # empty where there is none
    json: Markup  # empty in the light report
    csv: str  # base64


def render_html(
    sweep: Sweep,
    *,
    interactive: bool,
    extras: Sequence[Extra] = (),
    commands: Mapping[str, str] | None = None,
) -> str:
    """The page as text; everything that comes from outside is escaped.

    Args:
        sweep: what to report.
        interactive: with plotly inside, which is 5 MB; else with the same pictures, still.
        extras: figures to show beside the report's own, where it is interactive.
        commands: command lines by what they are for.
    """
    made = {chart.key: _picture(chart, interactive=interactive) for chart in charts(sweep)}
    sections = [(title, [made[key] for key in keys if key in made]) for title, keys in _SECTIONS]
    if interactive and extras:
        sections.append(("How it was searched", [_extra(extra) for extra in extras]))
    found = difference_map(sweep)
    given = {name: portable(command) for name, command in (commands or {}).items()}
    top: Headline = headline(sweep)
    table: list[Column] = columns(sweep)
    return _template("page.html").render(
        sweep=sweep,
        headline=top,
        map=found,
        map_csv=_base64(found.to_csv()) if found is not None else "",
        sections=[(title, pictures) for title, pictures in sections if pictures],
        table=table,
        sortable=True,
        verdicts=[portable(line) for line in sweep.verdict_lines],
        protocol=protocol(sweep),
        provenance=sweep.provenance,
        notes=notes(sweep),
        costs=[(name, ", ".join(facts)) for name, facts in costs(sweep)],
        commands=given,
        interactive=interactive,
        plotly=Markup(_plotly()) if interactive else "",
        style=Markup(_file("chart.css") + _file("page.css")),
        script=Markup(_file("page.js")),
    )


def render_table(sweep: Sweep) -> str:
    """The answer, the table and its notes, as a part of somebody else's page."""
    return _template("part.html").render(
        sweep=sweep,
        headline=headline(sweep),
        table=columns(sweep),
        notes=notes(sweep),
        sortable=False,
    )


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("kdsweep.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _file(name: str) -> str:
    return resources.files("kdsweep.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    code: str = get_plotlyjs()
    return code


def _picture(chart: Chart, *, interactive: bool) -> _Picture:
    return _Picture(
        key=chart.key,
        title=chart.title,
        caption=chart.caption,
        svg=Markup(svg(chart)),
        json=_in_script(figure(chart).to_json()) if interactive else Markup(),
        csv=_base64(chart.to_csv()),
    )


def _extra(extra: Extra) -> _Picture:
    return _Picture(
        key=extra.key,
        title=extra.title,
        caption=extra.caption,
        svg=Markup(),
        json=_in_script(extra.json),
        csv=_base64(extra.csv),
    )


def _in_script(json: str) -> Markup:
    """JSON that can't end the script element it stands in."""
    return Markup(json.replace("<", "\\u003c"))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")
