"""The pictures of a sweep as figures, and as files.

Each function takes the sweep, whose part for it must not be empty (``figures`` makes only
those that can be made), and returns a matplotlib figure.
"""

from __future__ import annotations

import io
import math
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.report import series
from kdsweep.report.grid import grid
from kdsweep.report.maps import difference_map, forest_plot
from kdsweep.report.race import race_panels, race_plot
from kdsweep.report.series import FEW, Bar, Line
from kdsweep.report.style import COLOURS, legend_below, new_figure, page_width, styled
from kdsweep.report.words import number
from kdsweep.results.data import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vX"  # tell a few cells apart, whose colour is their role's


def _horizontal_bars(
    bars: Sequence[Bar], texts: Sequence[str], *, title: str, axis: str, line: float | None = None
) -> Figure:
    """Bars from 0, the first on top, each with its number behind it, and a line down from one."""
    from matplotlib.colors import to_rgba
    from matplotlib.ticker import FuncFormatter

    with styled():
        width = page_width([bar.label for bar in bars])
        figure, (axes,) = new_figure(width, 1.1 + 0.27 * len(bars))
        ends = [sum(x for x in (bar.value, bar.sd) if math.isfinite(x)) for bar in bars]
        places = range(len(bars))
        colours = [to_rgba(COLOURS[bar.role], 0.4 if bar.remark else 1.0) for bar in bars]
        axes.barh(places, [bar.value for bar in bars], height=0.72, color=colours)
        deviations = [bar.sd for bar in bars]
        if any(map(math.isfinite, deviations)):
            values = [bar.value for bar in bars]
            axes.errorbar(
                values, places, xerr=deviations, fmt="none", color="black", capsize=2, lw=1
            )
        for end, place, text in zip(ends, places, texts, strict=True):
            axes.annotate(
                text,
                (end, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                size=8.5,
                bbox={"fc": "white", "ec": "none", "pad": 0.8},
            )
        axes.set_yticks(places, [bar.label for bar in bars])
        if line is not None:
            axes.axvline(line, color="black", ls=":", lw=1)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        room = [max(0.1, 1 - 0.015 * len(text)) for text in texts]  # what a text leaves of a line
        axes.set_xlim(0, max(end / left for end, left in zip(ends, room, strict=True)) or 1)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.set_xlabel(axis)
        axes.set_title(title)
    return figure


def accuracy_bars(sweep: Sweep) -> Figure:
    """The objective of teacher, baseline and every cell, with a standard deviation over seeds."""
    bars = series.accuracy_bars(sweep)
    assert bars is not None
    d = sweep.decimals
    texts = [
        number(bar.value, d)
        + (f" ± {number(bar.sd, d)}" if math.isfinite(bar.sd) else "")
        + (f"  ({bar.remark})" if bar.remark else "")
        for bar in bars
    ]
    return _horizontal_bars(
        bars,
        texts,
        title=f"{sweep.objective} on {sweep.dataset}, {sweep.split} split",
        axis=f"{sweep.objective}, {sweep.unit} (mean ± sd over seeds; dotted: the baseline)",
        line=next((bar.value for bar in bars if bar.role == "baseline" and not bar.remark), None),
    )


def _against_teacher(bars: Sequence[Bar], form: str) -> list[str]:
    """Each number, and what part of the teacher's it is."""
    teacher = next((bar.value for bar in bars if bar.role == "teacher"), None)
    return [
        format(bar.value, form)
        + (
            ""
            if teacher is None or bar.role == "teacher"
            else f"  ({100 * bar.value / teacher:.1f} % of the teacher's)"
        )
        for bar in bars
    ]


def parameter_bars(sweep: Sweep) -> Figure:
    """How many parameters each network has."""
    bars = series.parameter_bars(sweep)
    assert bars is not None
    texts = _against_teacher(bars, ",.0f")
    return _horizontal_bars(bars, texts, title="Parameters", axis="parameters")


def size_bars(sweep: Sweep) -> Figure:
    """How large each network's parameters and buffers are."""
    bars = series.size_bars(sweep)
    assert bars is not None
    texts = _against_teacher(bars, ",.2f")
    return _horizontal_bars(bars, texts, title="Size", axis="parameters and buffers, MiB")


def latency_bars(sweep: Sweep) -> Figure:
    """How long each network takes for a batch."""
    bars = series.latency_bars(sweep)
    assert bars is not None
    conditions = f", {sweep.latency_conditions}" if sweep.latency_conditions else ""
    axis = f"ms a batch, median{conditions}"
    texts = _against_teacher(bars, ",.2f")
    return _horizontal_bars(bars, texts, title="Inference time", axis=axis)


def _draw_curves(axes: Axes, lines: Sequence[Line]) -> None:
    """Every line; beyond a few cells only teacher, baseline and best stand out."""
    cells = [line for line in lines if line.role in ("distilled", "best")]
    few = len(cells) <= FEW
    unnamed = f"{len(cells) - any(c.role == 'best' for c in cells)} other cells"
    for line in lines:
        stands_out = line.role != "distilled"
        text = line.label + (" (best)" if line.role == "best" else "")
        if not (stands_out or few):
            text, unnamed = unnamed, "_nolegend_"
        marker = "." if len(line.epochs) == 1 else None
        axes.plot(
            line.epochs,
            line.mean,
            color=COLOURS[line.role],
            lw=1.8 if stands_out else (1.4 if few else 0.7),
            alpha=1.0 if stands_out or few else 0.5,
            ls="--" if line.role == "baseline" else "-",
            marker=_MARKERS[cells.index(line)] if few and line in cells else marker,
            markevery=max(1, len(line.epochs) // 8),
            ms=4.5,
            zorder=3 if stands_out else 2,
            label=text,
        )
        if stands_out and all(math.isfinite(sd) for sd in line.sd):
            low = [m - s for m, s in zip(line.mean, line.sd, strict=True)]
            high = [m + s for m, s in zip(line.mean, line.sd, strict=True)]
            axes.fill_between(line.epochs, low, high, color=COLOURS[line.role], alpha=0.15, lw=0)


def learning_curves(sweep: Sweep) -> Figure:
    """The objective over the epochs, and beside it the cells' difference from the baseline."""
    from matplotlib.ticker import MaxNLocator

    lines = series.learning_curves(sweep, sweep.objective)
    assert lines is not None
    gaps = series.difference_curves(sweep, sweep.objective)
    with styled():
        figure, panels = new_figure(11 if gaps else 6, 4, 2 if gaps else 1)
        _draw_curves(panels[0], lines)
        panels[0].set_title(f"{sweep.objective}, {sweep.unit}")
        if gaps:
            panels[1].axhline(0, color=COLOURS["baseline"], ls="--", lw=1.8)
            _draw_curves(panels[1], gaps)
            panels[1].set_title(f"difference from the baseline, {sweep.difference_unit}")
        for axes in panels:
            axes.set_xlabel("epoch (band: ± sd over seeds)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = panels[0].get_legend_handles_labels()
        legend_below(figure, handles, labels)
    return figure


def accuracy_against_size(sweep: Sweep) -> Figure:
    """The objective against the size, which has a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    points = series.accuracy_against_size(sweep)
    assert points is not None
    with styled():
        figure, (axes,) = new_figure(7, 4)
        named = [point for point in points if point.named]
        for point in sorted(points, key=lambda p: p.named):
            value = number(point.accuracy, sweep.decimals)
            axes.errorbar(
                point.size_mib,
                point.accuracy,
                yerr=point.sd if math.isfinite(point.sd) and point.named else None,
                fmt=_MARKERS[named.index(point) % len(_MARKERS)] if point.named else ".",
                color=COLOURS[point.role],
                alpha=0.9 if point.named else 0.5,
                capsize=3,
                label=f"{point.label}: {value} {sweep.unit}" if point.named else None,
            )
        sizes = [point.size_mib for point in points]
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(min(sizes) / 1.6, max(sizes) * 1.6)
        axes.margins(y=0.12)
        axes.set_xlabel("parameters and buffers, MiB")
        axes.set_ylabel(f"{sweep.objective}, {sweep.unit}")
        axes.set_title(f"{sweep.objective} against size")
        handles, labels = axes.get_legend_handles_labels()
        legend_below(figure, handles, labels)
    return figure


def figures(sweep: Sweep) -> dict[str, Figure]:
    """Every picture that this sweep has the data for, by file name without its ending."""
    return {name: draw(sweep) for name, draw in drawable(sweep).items()}


def drawable(sweep: Sweep) -> dict[str, Callable[[Sweep], Figure]]:
    """What draws each picture that this sweep has the data for, in the order of a report."""
    curves = series.learning_curves(sweep, sweep.objective)
    possible = (
        ("accuracy", accuracy_bars, series.accuracy_bars(sweep) is not None),
        ("difference_map", difference_map, grid(sweep) is not None),
        ("forest", forest_plot, series.forest(sweep) is not None),
        ("race", race_plot, race_panels(sweep) is not None),
        ("learning_curves", learning_curves, curves is not None),
        ("parameters", parameter_bars, series.parameter_bars(sweep) is not None),
        ("size", size_bars, series.size_bars(sweep) is not None),
        ("latency", latency_bars, series.latency_bars(sweep) is not None),
        (
            "accuracy_against_size",
            accuracy_against_size,
            series.accuracy_against_size(sweep) is not None,
        ),
    )
    return {name: draw for name, draw, has_data in possible if has_data}


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes, the same for the same figure."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Put a whole file in place of what was there, or leave everything as it was."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
