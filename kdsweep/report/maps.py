"""Two pictures of the difference from the baseline: over two axes, and with its intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdsweep.report import series
from kdsweep.report.grid import Place, grid, shown_place
from kdsweep.report.style import COLOURS, MARKERS, legend_below, new_figure, page_width, styled
from kdsweep.results.data import COMPLETE, Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def difference_map(sweep: Sweep) -> Figure:
    """Mean difference from the baseline over two swept numbers; hatched is not decided."""
    from matplotlib.patches import Rectangle

    found = grid(sweep)
    assert found is not None
    limit = max(found.scale, sweep.equivalence)  # half the scale, so that 0 is in its middle
    judged = any(place.verdict for row in found.places for place in row)
    rows, columns = len(found.y), len(found.x)
    values = [[_gap(place) for place in row] for row in found.places]
    with styled():
        figure, (axes,) = new_figure(2.6 + 0.95 * columns, 1.7 + 0.62 * rows)
        image = axes.imshow(
            values,
            cmap="RdBu" if sweep.maximize else "RdBu_r",  # blue is better
            vmin=-limit,
            vmax=limit,
            origin="lower",
            aspect="auto",
        )
        for i, row in enumerate(found.places):
            for j, place in enumerate(row):
                shown = shown_place(sweep, found, place)
                coloured = not judged or shown.kind not in ("open", "unfinished", "none")
                if not coloured or not place.cell or place.state != COMPLETE:
                    hatch = "////" if place.cell else ""
                    corner = (j - 0.5, i - 0.5)
                    axes.add_patch(
                        Rectangle(corner, 1, 1, fc="#F7F7F7", ec="#DDDDDD", hatch=hatch, lw=0)
                    )
                dark = coloured and abs(values[i][j]) > 0.6 * limit
                text = f"{shown.main}\n{shown.interval or f'n={place.n}'}" if place.cell else ""
                text = shown.main if shown.kind == "unfinished" else text
                axes.text(
                    j, i, text, ha="center", va="center", size=8,
                    color="white" if dark else "black" if coloured else "#555555",
                )  # fmt: skip
                if place.best:
                    corner = (j - 0.48, i - 0.48)
                    axes.add_patch(Rectangle(corner, 0.96, 0.96, fill=False, lw=2))
        axes.set_xticks(range(columns), [f"{x:g}" for x in found.x])
        axes.set_yticks(range(rows), [f"{y:g}" for y in found.y])
        axes.set_xlabel(found.x_key)
        axes.set_ylabel(found.y_key)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        still = any(p.verdict and p.verdict.word == "open" for row in found.places for p in row)
        hatched = ", hatched: not decided" if still else ""
        axes.set_title(
            f"{sweep.objective}: difference from the baseline\n(framed: the best mean{hatched})"
        )
        bar = figure.colorbar(
            image,
            ax=axes,
            label=f"{sweep.difference_unit} (blue is better)",
            pad=0.02,
            shrink=min(1.0, 8 / rows),
        )
        bar.outline.set_visible(False)
    return figure


def _gap(place: Place) -> float:
    """What the colour shows; NaN where there is nothing to show."""
    shows = place.state == COMPLETE and place.difference is not None
    return place.difference if shows and place.difference is not None else math.nan


def forest_plot(sweep: Sweep) -> Figure:
    """Each cell's difference with its simultaneous interval, and the band of no difference."""
    lines = series.forest(sweep)
    assert lines is not None
    with styled():
        width = page_width([line.label for line in lines])
        figure, (axes,) = new_figure(width, 1.2 + 0.25 * len(lines))
        band = sweep.equivalence
        axes.axvspan(-band, band, color=COLOURS["equivalent"], alpha=0.12, lw=0)
        axes.axvline(0, color="black", lw=0.8)
        seen: set[str] = set()
        for i, line in enumerate(lines):
            v = line.verdict
            axes.errorbar(
                v.difference,
                i,
                xerr=[[v.difference - v.low], [v.high - v.difference]],
                fmt=MARKERS[v.word],
                color=COLOURS[v.word],
                ms=5,
                capsize=2.5,
                lw=1.3,
                label="_nolegend_" if v.word in seen else v.word,
            )
            seen.add(v.word)
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda k: list(MARKERS).index(labels[k]))
        axes.set_yticks(
            range(len(lines)),
            [f"{line.label} *" if line.role == "best" else line.label for line in lines],
        )
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(
            f"difference from the baseline, {sweep.difference_unit} "
            f"(95 % simultaneous intervals; band: ± {band:g})"
        )
        without = len(sweep.cells) - len(lines)
        axes.set_title(
            f"{sweep.objective}: is it more than luck?"
            + (f" ({without} of {len(sweep.cells)} cells have no verdict)" if without else "")
        )
        legend_below(figure, [handles[k] for k in order], [labels[k] for k in order])
    return figure
