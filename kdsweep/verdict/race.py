"""The race itself, over many maps at once: who is decided, who leaves, who goes on.

The interval of a cell is its difference +- the critical value of the last round that it was in,
times its standard error (repeated confidence intervals, Jennison & Turnbull 1989, JRSS B 51:305).
So a verdict and its interval are one statement, and the intervals of all cells hold at once
whatever made a cell stop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.design import RaceDesign
from kdsweep.verdict.estimate import Estimate, estimate, mean

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

OPEN, BETTER, WORSE, EQUIVALENT = 0, 1, -1, 2  # codes of verdicts, in arrays


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Cells or averages against the baseline, each array [maps, rows]; NaN: no interval."""

    verdict: NDArray[np.int64]
    difference: Array  # points
    error: Array  # points: standard error
    df: Array  # of the error
    low: Array  # points: simultaneous confidence interval
    high: Array
    own_variance: Array  # points^2: of one seed
    baseline_variance: Array


@dataclass(frozen=True, kw_only=True)
class Race:
    """Where races stand after so many rounds."""

    cells: Comparisons
    averages: Comparisons  # in the order of ``RaceDesign.slices``
    racing: Flags  # [maps, cells]: goes on in the next round
    last: NDArray[np.int64]  # [maps, cells]: last round that the cell was in
    baseline_last: NDArray[np.int64]  # [maps, groups]


def classify(low: Array, high: Array, margin: float) -> NDArray[np.int64]:
    """Codes of the verdicts that intervals earn: a difference comes before equivalence."""
    inside = (low >= -margin) & (high <= margin)
    return np.where(low > 0.0, BETTER, np.where(high < 0.0, WORSE, EQUIVALENT * inside))


def race(
    design: RaceDesign, scores: Array, baselines: Array, *, rounds: int | None = None
) -> Race:
    """Run races of given scores.

    Args:
        design: of all of them.
        scores: [maps, cells, n] percent, in the order of seeds, for at least ``rounds`` rounds;
            NaN where a seed failed. What comes after a cell's last round is not looked at.
        baselines: [maps, groups, n0] percent, likewise.
        rounds: how many of the design's to run, by default all.
    """
    maps, cells = scores.shape[:2]
    group = np.array(design.groups)
    own_baseline = np.eye(design.baseline_count)[group]  # [cells, groups]
    shape = (maps, cells)
    racing, last = np.ones(shape, bool), np.ones(shape, np.int64)
    baseline_last = np.ones((maps, design.baseline_count), np.int64)
    kept = {name: np.full(shape, np.nan) for name in (*Estimate._fields, "low", "high")}
    verdict = np.zeros(shape, np.int64)
    for r in range(1, (design.rounds if rounds is None else rounds) + 1):
        on = racing.any(axis=1)
        if not on.any():
            break
        last[racing] = r
        playing = racing[on]
        baseline_last[on] = np.where((playing @ own_baseline) > 0, r, baseline_last[on])
        found = estimate(
            _seen(scores[on], np.array(design.seeds)[last[on] - 1]),
            _seen(baselines[on], np.array(design.baselines)[baseline_last[on] - 1]),
            own_baseline,
        )
        judged = _compare(found, design.cell_levels[r - 1], design.margin)
        for name, values in kept.items():
            values[on] = np.where(playing, getattr(judged, name), values[on])
        verdict[on] = np.where(playing, judged.verdict, verdict[on])
        promising = np.abs(found.difference) > design.futility * found.error
        racing[on] = playing & (judged.verdict == OPEN) & promising & (r < design.rounds)
    return Race(
        cells=Comparisons(verdict=verdict, **kept),
        averages=_averages(design, scores, baselines),
        racing=racing,
        last=last,
        baseline_last=baseline_last,
    )


def _seen(values: Array, counts: NDArray[np.int64]) -> Array:
    """The first seeds of each row, [maps, rows]; no others."""
    width = int(counts.max())
    return np.where(np.arange(width) < counts[..., None], values[..., :width], np.nan)


def _compare(found: Estimate, level: float, margin: float) -> Comparisons:
    """Intervals that err with probability ``level`` each, and their verdicts."""
    from scipy.special import stdtrit

    half = stdtrit(found.df, 1.0 - 0.5 * level) * found.error
    low, high = found.difference - half, found.difference + half
    return Comparisons(verdict=classify(low, high, margin), low=low, high=high, **found._asdict())


def _averages(design: RaceDesign, scores: Array, baselines: Array) -> Comparisons:
    """Averages over cells after the first round, where all cells have the same seeds.

    An average's score on a seed is its cells' mean on that seed, so that whatever cells share on
    a seed counts as often as there are seeds, and not as often as there are cells.
    """
    maps, n = len(scores), design.seeds[0]
    axes = design.axes or (design.cells,)
    grid = scores[..., :n].reshape(maps, *axes, n)
    groups = np.eye(design.baseline_count)[np.array(design.groups)].reshape(*axes, -1)
    parts = []
    for axis in dict.fromkeys(slice_.axis for slice_ in design.slices):
        over = tuple(i for i in range(len(axes)) if i != axis)
        rows, worth = _over(grid, tuple(i + 1 for i in over))
        found = estimate(
            rows.reshape(maps, -1, n),
            baselines[..., : design.baselines[0]],
            groups.mean(axis=over).reshape(-1, design.baseline_count),
            seeds=worth.reshape(maps, -1),
        )
        parts.append(_compare(found, design.average_level, design.margin))
    names = Comparisons.__dataclass_fields__
    empty = np.zeros((maps, 0))
    return Comparisons(
        **{k: np.concatenate([empty, *(getattr(p, k) for p in parts)], axis=1) for k in names}
    )


def _over(grid: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Scores by seed [..., n] of the means over some axes of a grid, and how many seeds they are.

    Without failures they are the plain means. A cell that failed on a seed is left out there,
    but its own mean counts as much as any other cell's.
    """
    seen = ~np.isnan(grid)
    count = seen.sum(axis=-1).astype(np.float64)
    centres = mean(grid)
    several = (count > 1.0)[..., None]  # one seed tells nothing of how the seeds vary
    by_seed = mean(np.where(several, grid - centres[..., None], np.nan), axis=axes)
    by_seed = by_seed - mean(by_seed)[..., None]
    inverse = 1.0 / np.where(count > 0.0, count, np.nan)
    return by_seed + centres.mean(axis=axes)[..., None], 1.0 / inverse.mean(axis=axes)
