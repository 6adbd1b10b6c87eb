"""A chart as SVG: sharp at any width, in dark and in light, and small enough to be mailed.

Colours are those of ``chart.css``.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from html import escape

from kdsweep.report.chart import Axis, Chart, Point, Series
from kdsweep.report.words import shortened

WIDTH = 440  # units, which are CSS pixels at that width
CHARACTER = 6.1  # units: the mean width of one, at 11 units
_LABEL = 26  # characters of a row's label, the rest is in its title
_ROW = 17
_FEW = 12  # rows up to which each has a little more
_HEIGHT = 250  # of the field of a chart of two numbers
_SIZE = 4.0  # of a marker

# Corners of markers in units of their size; the others are circles.
_CORNERS = {
    "better": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
    "worse": ((0, 1.2), (1.1, -0.9), (-1.1, -0.9)),
    "equivalent": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "worst": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "teacher": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
}


def svg(chart: Chart, *, style: str = "") -> str:
    """The chart as an SVG element, all words from outside escaped.

    Args:
        chart: with a point at least.
        style: CSS to carry inside.
    """
    return _Drawing(chart).svg(style)


def element(
    what: str, width: float, height: float, parts: Sequence[str], *, style: str = ""
) -> str:
    """Parts as one element, which says in words what it shows."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" aria-label="{escape(what)}">'
    )
    return "\n".join([head, *([f"<style>{style}</style>"] if style else []), *parts, "</svg>"])


class _Drawing:
    """Where the field of a chart is, and how its numbers become places in it."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.legend = _legend(chart.series)
        self.top = 8.0 + 17.0 * (1 + max((line for line, _, _ in self.legend), default=-1))
        points = [p for series in chart.series for p in series.points]
        if chart.rows:
            longest = max(len(shortened(label, _LABEL)) for label in chart.rows)
            self.left = 14 + CHARACTER * longest
            self.height = float((_ROW if len(chart.rows) > _FEW else _ROW + 5) * len(chart.rows))
            self.x_range = _range(_with_references(chart), chart.x, bars=_has_bars(chart))
            self.y_range = (len(chart.rows) - 0.5, -0.5)
        else:
            self.height = float(_HEIGHT)
            self.x_range = _range([p.x for p in points], chart.x)
            self.y_range = _range(_with_references(chart), chart.y)
            longest = max(len(_tick(tick)) for tick in ticks(self.y_range, chart.y))
            self.left = 30 + CHARACTER * longest
        texts = [len(text) for series in chart.series for text in series.texts]
        self.right = WIDTH - 10 - (CHARACTER * max(texts) if texts else 0)
        self.bottom = self.top + self.height

    def x(self, value: float) -> float:
        """Of a number on the horizontal axis."""
        return self.left + (self.right - self.left) * _share(value, self.x_range, self.chart.x.log)

    def y(self, value: float) -> float:
        """Of a number on the vertical axis, or of a row."""
        return self.bottom - self.height * _share(value, self.y_range, self.chart.y.log)

    def svg(self, style: str) -> str:
        """The whole element."""
        chart = self.chart
        title = textwrap.wrap(chart.x.title, 62) or [""]
        height = self.bottom + 22 + 14 * len(title)
        parts = [
            *self._axes(),
            *(part for series in chart.series for part in self._series(series)),
            *self._legend(),
        ]
        middle = (self.left + self.right) / 2
        parts += [
            text_at(middle, self.bottom + 31 + 14 * i, line, anchor="middle", kind="axis")
            for i, line in enumerate(title)
        ]
        if not chart.rows:
            parts.append(
                f'<text class="axis" text-anchor="middle" transform="translate(12 '
                f'{self.top + self.height / 2:.1f}) rotate(-90)">{escape(chart.y.title)}</text>'
            )
        return element(f"{chart.title}. {chart.caption}", WIDTH, height, parts, style=style)

    def _axes(self) -> Iterator[str]:
        chart = self.chart
        if chart.zone is not None:
            low, high = chart.zone
            if chart.rows:
                box = self.x(low), self.top, self.x(high) - self.x(low), self.height
            else:
                box = self.left, self.y(high), self.right - self.left, self.y(low) - self.y(high)
            x, y, width, height = (f"{number:.1f}" for number in box)
            yield f'<rect class="zone" x="{x}" y="{y}" width="{width}" height="{height}"/>'
        for tick in ticks(self.x_range, chart.x):
            yield _line(self.x(tick), self.top, self.x(tick), self.bottom, "grid")
            yield text_at(self.x(tick), self.bottom + 14, _tick(tick), anchor="middle")
        for i, label in enumerate(chart.rows):
            yield text_at(
                self.left - 6, self.y(i) + 4, shortened(label, _LABEL), anchor="end", title=label
            )
        for tick in () if chart.rows else ticks(self.y_range, chart.y):
            yield _line(self.left, self.y(tick), self.right, self.y(tick), "grid")
            yield text_at(self.left - 5, self.y(tick) + 4, _tick(tick), anchor="end")
        if chart.line is not None and chart.rows:
            yield _line(self.x(chart.line), self.top, self.x(chart.line), self.bottom, "reference")
        elif chart.line is not None:
            yield _line(self.left, self.y(chart.line), self.right, self.y(chart.line), "reference")

    def _series(self, series: Series) -> Iterator[str]:
        kind = (
            f"{series.role}{' faint' if series.faint else ''}{' dashed' if series.dashed else ''}"
        )
        yield f'<g class="{kind}">'
        if series.mark == "line":
            yield from self._curve(series.points)
        for i, point in enumerate(series.points):
            if series.mark == "line":
                break
            yield f"<g><title>{escape(f'{point.name}: {point.note}')}</title>"
            x, y = self.x(point.x), self.y(point.y)
            if series.mark == "bar":
                start = self.x(self.x_range[0])
                yield (
                    f'<rect class="bar" x="{start:.1f}" y="{y - 6:.1f}" '
                    f'width="{max(0.0, x - start):.1f}" height="12"/>'
                )
            else:
                yield from self._interval(point)
                yield marker(x, y, series.role)
            if series.texts:
                yield text_at(x + 5, y + 4, series.texts[i], anchor="start")
            yield "</g>"
        yield "</g>"

    def _curve(self, points: Sequence[Point]) -> Iterator[str]:
        banded = [p for p in points if math.isfinite(p.low) and math.isfinite(p.high)]
        if banded:
            edge = [(p.x, p.high) for p in banded] + [(p.x, p.low) for p in reversed(banded)]
            corners = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in edge)
            yield f'<polygon class="band" points="{corners}"/>'
        places = " ".join(f"{self.x(p.x):.1f},{self.y(p.y):.1f}" for p in points)
        name = escape(f"{points[-1].name}: {points[-1].note}")
        yield f'<polyline class="curve" points="{places}"><title>{name}</title></polyline>'
        if len(points) == 1:
            yield marker(self.x(points[0].x), self.y(points[0].y), "dot")

    def _interval(self, point: Point) -> Iterator[str]:
        if not (math.isfinite(point.low) and math.isfinite(point.high)):
            return
        if self.chart.rows:
            y = self.y(point.y)
            yield _line(self.x(point.low), y, self.x(point.high), y, "interval")
        else:
            x = self.x(point.x)
            yield _line(x, self.y(point.low), x, self.y(point.high), "interval")

    def _legend(self) -> Iterator[str]:
        for line, x, series in self.legend:
            y = 12.0 + 17.0 * line
            dashed = " dashed" if series.dashed else ""
            yield f'<g class="{series.role}{dashed}">'
            if series.mark == "line":
                yield _line(x, y - 4, x + 16, y - 4, "curve")
            else:
                yield marker(x + 8, y - 4, series.role)
            yield text_at(x + 20, y, series.name, anchor="start") + "</g>"


def _legend(series: Sequence[Series]) -> list[tuple[int, float, Series]]:
    """The line and the x of each entry; none where there is nothing to tell apart."""
    named = [one for one in series if one.name]
    if len(named) < 2 and not any(one.mark == "line" for one in named):
        named = []
    line, x, placed = 0, 8.0, []
    for one in named:
        width = 32 + CHARACTER * len(one.name)
        if x > 8.0 and x + width > WIDTH:
            line, x = line + 1, 8.0
        placed.append((line, x, one))
        x += width
    return placed


def marker(x: float, y: float, role: str) -> str:
    """The shape of a role about a place."""
    corners = _CORNERS.get(role)
    if corners is None:
        return f'<circle class="marker" cx="{x:.1f}" cy="{y:.1f}" r="{_SIZE:g}"/>'
    places = " ".join(f"{x + _SIZE * dx:.1f},{y + _SIZE * dy:.1f}" for dx, dy in corners)
    return f'<polygon class="marker" points="{places}"/>'


def ticks(limits: tuple[float, float], axis: Axis) -> list[float]:
    """Round numbers within the limits: about five of them."""
    low, high = limits
    if axis.log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        few = (1, 2, 5) if high < 400 * low else (1,)
        return [t for d in decades for m in few if low <= (t := m * 10.0**d) <= high]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    if axis.whole:
        step = max(1.0, round(step))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(value: float) -> str:
    """A number beside an axis: ``2.5M``, ``40k``, ``0.03``."""
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value * (1e-6 if unit == 'M' else 1e-3):.10g}{unit}"
    return f"{value:.10g}"


def _with_references(chart: Chart) -> list[float]:
    return [*chart.values, *([] if chart.line is None else [chart.line]), *(chart.zone or ())]


def _has_bars(chart: Chart) -> bool:
    return any(series.mark == "bar" for series in chart.series)


def _range(values: Sequence[float], axis: Axis, *, bars: bool = False) -> tuple[float, float]:
    """The limits of an axis, a little beyond its values; from 0 where there are bars."""
    low, high = min(values), max(values)
    if bars:
        return 0.0, high or 1.0
    if axis.log:
        return low / 1.5, high * 1.5
    if axis.whole:
        return low - 0.4, high + 0.4
    room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _share(value: float, limits: tuple[float, float], log: bool) -> float:
    if log:
        return math.log(value / limits[0]) / math.log(limits[1] / limits[0])
    return (value - limits[0]) / (limits[1] - limits[0])


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text_at(
    x: float, y: float, text: str, *, anchor: str, kind: str = "tick", title: str = ""
) -> str:
    """A text at a place, whole in a title where only a part of it is shown."""
    more = f"<title>{escape(title)}</title>" if title != text and title else ""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}{more}</text>"
    )
