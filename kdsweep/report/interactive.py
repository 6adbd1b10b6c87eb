"""A chart as a plotly figure: the same marks as in SVG, to be pointed at, zoomed and saved.

Colours are left to the page, which knows whether it is dark: each trace names its role.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from kdsweep.report.chart import Axis, Chart, Series
from kdsweep.report.words import shortened

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SYMBOLS = {
    "better": "triangle-up", "worse": "triangle-down", "equivalent": "square", "worst": "square",
    "open": "circle-open", "teacher": "diamond",
}  # fmt: skip
_ROW = 18  # pixels
_LABEL = 30  # characters of a row's label
_FEW = 8  # whole numbers of which each has a tick
_TITLE = 34  # characters of a line of an axis's title


def figure(chart: Chart) -> Figure:
    """The chart as a figure; every word is shown as it is, not read as markup."""
    import plotly.graph_objects as go

    points = [point for series in chart.series for point in series.points]
    shapes = []
    along, across = ("x", "y") if chart.rows else ("y", "x")
    if chart.zone is not None:
        ends = {f"{along}0": chart.zone[0], f"{along}1": chart.zone[1]}
        shapes.append(_shape("rect", along, across, name="zone", line={"width": 0}, **ends))
    if chart.line is not None:
        ends = {f"{along}0": chart.line, f"{along}1": chart.line}
        shapes.append(_shape("line", along, across, name="reference", **ends))
    traces = [trace for series in chart.series for trace in _traces(chart, series)]
    legend = sum(bool(series.name) for series in chart.series)
    layout: dict[str, Any] = {
        "height": 110 + _ROW * len(chart.rows) if chart.rows else 380,
        "margin": {"l": 10, "r": 12, "t": 10, "b": 10},
        "xaxis": {
            **_axis(chart.x, [p.x for p in points]),
            "automargin": True,
        },
        "yaxis": {
            **_axis(chart.y, [p.y for p in points]),
            "automargin": True,
        },
        "shapes": shapes,
        "template": {},
        "hovermode": "closest",
        "dragmode": False,
        "bargap": 0.3,
        "showlegend": legend > 1 or any(s.mark == "line" and s.name for s in chart.series),
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    }
    if chart.rows:
        layout["yaxis"] |= {
            "tickvals": list(range(len(chart.rows))),
            "ticktext": [escape(shortened(label, _LABEL), quote=False) for label in chart.rows],
            "range": [len(chart.rows) - 0.5, -0.5],
            "zeroline": False,
        }
    return go.Figure({"data": traces, "layout": layout}, skip_invalid=False)


def _traces(chart: Chart, series: Series) -> list[dict[str, Any]]:
    points = series.points
    xs, ys = [p.x for p in points], [p.y for p in points]
    shown = [escape(f"{p.name}: {p.note}", quote=False) for p in points]
    mark = series.mark
    trace: dict[str, Any] = {
        "type": "bar" if mark == "bar" else "scatter",
        "x": xs,
        "y": ys,
        "name": escape(series.name, quote=False),
        "showlegend": bool(series.name),
        "meta": series.role,
        "hovertext": shown,
        "hoverinfo": "text",
        "opacity": 0.55 if series.faint else 1.0,
    }
    if mark == "bar":
        trace |= {"orientation": "h", "text": list(series.texts), "textposition": "auto"}
        return [trace]
    if mark == "line":
        trace |= {"mode": "lines" if len(points) > 1 else "markers",
                  "line": {"width": 1 if series.faint else 2.2,
                           "dash": "dash" if series.dashed else "solid"}}  # fmt: skip
        return [*_band(series), trace]
    trace |= {"mode": "markers", "marker": {"symbol": _SYMBOLS.get(series.role, "circle"),
                                            "size": 9, "line": {"width": 1.5}}}  # fmt: skip
    if any(math.isfinite(p.low) for p in points):
        main = xs if chart.rows else ys
        up = [_or_zero(p.high - m) for p, m in zip(points, main, strict=True)]
        down = [_or_zero(m - p.low) for p, m in zip(points, main, strict=True)]
        trace["error_x" if chart.rows else "error_y"] = {
            "type": "data", "symmetric": False, "array": up, "arrayminus": down, "width": 0,
            "thickness": 1.6,
        }  # fmt: skip
    return [trace]


def _band(series: Series) -> list[dict[str, Any]]:
    """The interval about a line, as one closed outline."""
    there = [p for p in series.points if math.isfinite(p.low) and math.isfinite(p.high)]
    if len(there) < 2:
        return []
    back = list(reversed(there))
    return [
        {
            "type": "scatter",
            "x": [p.x for p in there] + [p.x for p in back],
            "y": [p.high for p in there] + [p.low for p in back],
            "mode": "lines",
            "line": {"width": 0},
            "fill": "toself",
            "meta": f"{series.role} band",
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]


def _axis(axis: Axis, values: Sequence[float]) -> dict[str, Any]:
    title = [escape(line, quote=False) for line in textwrap.wrap(axis.title, _TITLE)]
    given: dict[str, Any] = {"title": {"text": "<br>".join(title)}}
    if axis.log:
        given["type"] = "log"
    if axis.whole:
        given |= {"tickformat": "d"}
        given |= {"dtick": 1} if max(values) - min(values) < _FEW else {}
    return given


def _shape(kind: str, along: str, across: str, **more: Any) -> dict[str, Any]:
    """Something that reaches over the whole field in one direction."""
    whole = {f"{across}ref": f"{across} domain", f"{across}0": 0, f"{across}1": 1}
    return {"type": kind, f"{along}ref": along, **whole, "layer": "below", **more}


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
