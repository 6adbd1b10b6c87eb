"""The race of a sweep round by round: a small panel for each cell, all of them to one scale."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsweep.report.style import COLOURS, DPI, MARKERS, legend_below, styled
from kdsweep.results.data import CellVerdict, Look, Sweep

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATES = {
    "better": "better",
    "equivalent": "equivalent",
    "worse": "worse",
    "open": "open",
    "dropped": "open, dropped before the last round",
}
_MOST = 60  # panels of a picture
_ACROSS = 6  # panels side by side, unless a grid's rows say otherwise
_WIDEST = 10


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A cell's way through the race."""

    label: str
    state: str  # one of STATES
    looks: tuple[Look, ...]


def race_panels(sweep: Sweep) -> tuple[Panel, ...] | None:
    """The cells with an interval, in sweep order; None without a race of several rounds.

    Of more than a picture holds those that are decided, then those that left last.
    """
    if len(sweep.rounds) < 2:
        return None
    panels = [
        Panel(
            label=cell.label,
            state=_state(cell.verdict, len(sweep.rounds)),
            looks=cell.verdict.looks,
        )
        for cell in sweep.cells
        if cell.verdict is not None and cell.verdict.looks
    ]
    if len(panels) > _MOST:
        open_ones = ("open", "dropped")
        order = sorted(panels, key=lambda p: (p.state in open_ones, -len(p.looks)))[:_MOST]
        panels = [panel for panel in panels if panel in order]
    return tuple(panels) or None


def _state(verdict: CellVerdict, rounds: int) -> str:
    if verdict.word == "open" and not verdict.racing and len(verdict.looks) < rounds:
        return "dropped"
    return verdict.word


def race_plot(sweep: Sweep) -> Figure:
    """Each cell's difference and repeated interval after each round, and the averages'."""
    from matplotlib.figure import Figure

    panels = race_panels(sweep)
    assert panels is not None
    averages = dict(sweep.averages)
    lower = len(averages) > 1  # a row of their own
    across = _columns(sweep, len(panels)) + (len(averages) == 1 and len(panels) <= _ACROSS)
    down = -(-len(panels) // across)
    with styled():
        width = max(7.0, 1.0 + 1.75 * across)
        figure = Figure(figsize=(width, 1.2 + 1.5 * down + 2.0 * lower), dpi=DPI)
        grid = figure.add_gridspec(
            down + lower, across, height_ratios=[1.0] * down + [1.2] * lower
        )
        first: Axes | None = None
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(grid[i // across, i % across], sharex=first, sharey=first)
            first = first or axes
            _draw_panel(axes, panel, sweep)
            if i + across >= len(panels):
                axes.set_xlabel("seeds", size=8.5)
            axes.tick_params(labelbottom=i + across >= len(panels), labelleft=i % across == 0)
        assert first is not None
        first.set_ylim(*_limits(panels, sweep.equivalence))
        if averages:
            place = grid[down, :] if lower else grid[0, across - 1]
            _draw_averages(figure.add_subplot(place, sharey=None if lower else first), sweep)
        part = f" ({len(panels)} of {len(sweep.cells)} cells)"
        figure.suptitle(
            f"{sweep.objective}: the race, round by round"
            + part * (len(panels) < len(sweep.cells))
            + f"\ndifference from the baseline, {sweep.difference_unit}; "
            f"95 % simultaneous intervals; band: ± {sweep.equivalence:g}",
            x=0.01,
            ha="left",
            size=11,
        )
        _legend(figure, [panel.state for panel in panels], averages)
    return figure


def _limits(panels: Sequence[Panel], band: float) -> tuple[float, float]:
    """Of the axis: all last intervals; those of earlier rounds may go beyond."""
    low = min([-band, *(panel.looks[-1].low for panel in panels)])
    high = max([band, *(panel.looks[-1].high for panel in panels)])
    room = 0.06 * (high - low)
    return low - room, high + room


def _columns(sweep: Sweep, panels: int) -> int:
    """Side by side: a row of the map where the cells are a grid, else a few."""
    keys = list(sweep.cells[0].values)
    if len(keys) == 2 and panels == len(sweep.cells):
        across = len({repr(cell.values.get(keys[1])) for cell in sweep.cells})
        if 1 < across <= _WIDEST and panels % across == 0:
            return across
    return min(panels, _ACROSS)


def _draw_panel(axes: Axes, panel: Panel, sweep: Sweep) -> None:
    """The looks at one cell: the last one in the colour of what became of it."""
    rounds = len(sweep.rounds)
    _zero_and_band(axes, sweep)
    places = range(1, len(panel.looks) + 1)
    axes.plot(places, [look.difference for look in panel.looks], color="#BBBBBB", lw=1, zorder=2)
    for place, look in zip(places, panel.looks, strict=True):
        last = place == len(panel.looks)
        _interval(axes, place, look, panel.state if last else "open", faint=not last)
    decided = panel.state not in ("open", "dropped")
    axes.set_title(
        "\n".join(textwrap.wrap(panel.label, 26)),
        size=8,
        color=COLOURS[panel.state] if decided else "#666666",
        weight="bold" if decided else "normal",
        pad=3,
    )
    axes.set_xlim(0.5, rounds + 0.5)
    axes.set_xticks(range(1, rounds + 1), [str(n) for n in sweep.rounds])


def _draw_averages(axes: Axes, sweep: Sweep) -> None:
    """Their intervals; under an axis's values stands its name, once."""
    _zero_and_band(axes, sweep)
    for place, verdict in enumerate(sweep.averages.values()):
        _interval(axes, place, verdict, verdict.word)
    pairs = [label.rpartition(" ")[::2] for label in sweep.averages]
    names = [name for name, _ in pairs]
    texts = []
    for i, (name, value) in enumerate(pairs):
        count = names.count(name)
        middle = i == names.index(name) + (count - 1) // 2
        texts.append(f"{name}\n{value}" if count == 1 else f"{value}\n{name}" * middle or value)
    axes.set_xticks(range(len(pairs)), texts)
    axes.set_xlim(-0.6, len(pairs) - 0.4)
    several = "s" * (len(pairs) > 1)
    axes.set_title(f"average{several}, after round 1", size=8, pad=3)


def _zero_and_band(axes: Axes, sweep: Sweep) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axhspan(
        -sweep.equivalence, sweep.equivalence, color=COLOURS["equivalent"], alpha=0.12, lw=0
    )
    axes.axhline(0, color="black", lw=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))


def _interval(
    axes: Axes, place: float, shown: Look | CellVerdict, state: str, *, faint: bool = False
) -> None:
    colour = "#C4C4C4" if faint else COLOURS[state]
    axes.errorbar(
        place,
        shown.difference,
        yerr=[[shown.difference - shown.low], [shown.high - shown.difference]],
        fmt=MARKERS[state],
        color=colour,
        ms=3 if faint else 5,
        capsize=0 if faint else 2.5,
        lw=1.0 if faint else 1.5,
        zorder=3,
    )


def _legend(figure: Figure, states: Sequence[str], averages: Mapping[str, CellVerdict]) -> None:
    """What became of the cells, and of how many."""
    from matplotlib.lines import Line2D

    handles: list[Artist] = []
    labels = []
    for state, text in STATES.items():
        count = states.count(state)
        if count or any(verdict.word == state for verdict in averages.values()):
            handles.append(
                Line2D([], [], color=COLOURS[state], marker=MARKERS[state], ms=5, lw=1.5)
            )
            labels.append(f"{text}: {count} cell{'s' * (count > 1)}" if count else text)
    handles.append(Line2D([], [], color="#C4C4C4", marker="o", ms=3, lw=1))
    labels.append("an earlier round, still open")
    legend_below(figure, handles, labels)
