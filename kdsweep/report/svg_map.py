"""A map as SVG: the colour says which way it goes, hatching that it is not decided."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from kdsweep.report.grid import Shown
from kdsweep.report.map import Map
from kdsweep.report.svg import CHARACTER, WIDTH, element, text_at

_WIDE, _HIGH = 74, 40  # units of a place
_TOP = 26
_KEY = {
    "better": "▲ better",
    "worse": "▼ worse",
    "equivalent": "■ no difference that matters",
    "open": "○ not decided",
    "best": "the best mean, partly luck",
}
_HATCHING = (
    '<defs><pattern id="hatching" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(-45)"><rect class="soft" width="6" height="6"/>'
    '<line class="grid" y1="3" x2="6" y2="3"/></pattern></defs>'
)


def map_svg(drawn: Map, *, style: str = "") -> str:
    """The map as an SVG element, all words from outside escaped."""
    rows = [(row.name, (*row.places, row.average)) for row in drawn.rows]
    rows += [("mean", (*drawn.averages, drawn.whole))] if drawn.averaged else []
    names = [*drawn.x, "mean"] if drawn.averaged else drawn.x
    left = 28 + CHARACTER * max(len(name) for name, _ in rows)
    across = max(_WIDE, (WIDTH - 6 - left) / len(names))
    width, bottom = left + across * len(names) + 6, _TOP + _HIGH * len(rows)
    parts = [_HATCHING, text_at(6, 14, drawn.caption, anchor="start", kind="axis")]
    for i, (name, places) in enumerate(rows):
        y = _TOP + _HIGH * i
        parts.append(text_at(left - 6, y + _HIGH / 2 + 4, name, anchor="end"))
        for j, place in enumerate(places[: len(names)]):
            parts += _place(place, left + across * j, y, across)
    for j, name in enumerate(names):
        parts.append(text_at(left + across * (j + 0.5), bottom + 15, name, anchor="middle"))
    middle = left + across * len(drawn.x) / 2
    parts.append(text_at(middle, bottom + 32, drawn.x_name, anchor="middle", kind="axis"))
    middle = _TOP + _HIGH * len(drawn.rows) / 2
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(12 {middle:.1f}) '
        f'rotate(-90)">{escape(drawn.y_name)}</text>'
    )
    shown = [place for _, places in rows for place in places]
    kinds = {place.kind for place in shown} | {"best" for place in shown if place.best}
    height = bottom + 42.0
    x = left
    for kind in (kind for kind in _KEY if kind in kinds):
        needed = 34 + CHARACTER * len(_KEY[kind])
        if x > left and x + needed > width:
            x, height = left, height + 17
        parts.append(_box(x, height, 13, 13, kind, 60 if kind in ("better", "worse") else 0))
        parts.append(text_at(x + 18, height + 10, _KEY[kind], anchor="start"))
        x += needed
    what = f"{drawn.title} {drawn.caption}"
    return element(what, width, height + 22, parts, style=style)


def _place(place: Shown, x: float, y: float, across: float) -> Iterator[str]:
    if place.kind == "none":
        return
    yield f"<g><title>{escape(place.detail)}</title>"
    yield _box(x + 1, y + 1, across - 2, _HIGH - 2, place.kind, place.strength)
    if place.best:
        yield _box(x + 2, y + 2, across - 4, _HIGH - 4, "best", 0)
    middle = x + across / 2
    main = y + (17 if place.interval else _HIGH / 2 + 4)
    yield text_at(middle, main, place.main, anchor="middle", kind="main")
    if place.interval:
        yield text_at(middle, y + 31, place.interval, anchor="middle", kind="small")
    yield "</g>"


def _box(x: float, y: float, width: float, height: float, kind: str, strength: int) -> str:
    opacity = f' fill-opacity="{strength / 100:g}"' if kind in ("better", "worse") else ""
    return (
        f'<rect class="place {kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="3"{opacity}/>'
    )
