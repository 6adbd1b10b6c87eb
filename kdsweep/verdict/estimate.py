"""Differences from the baseline, their standard errors and what their largest t is judged by.

Leading dimensions of every array are independent maps, so that a simulation is one call.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.spread import Spread, moderate

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """Differences of cells from the baseline, in points, and the null model of their t."""

    difference: Array  # [..., cells]
    error: Array  # [..., cells]: standard error
    pooled_error: Array  # [...]: of a cell of average spread
    correlation: Array  # [...]: of two cells' differences
    common_df: Array  # [...]: of what the cells' standard errors share
    own_df: Array  # [...]: of what they do not


def blocked(scores: Array, baseline: Array) -> Estimate:
    """Cells that share their first n seeds, batches and augmentations with the baseline.

    With n0 = n it is the mean of the paired differences. Extra baseline seeds take a part of the
    weight: the reference is slope * (mean of the paired seeds) + (1 - slope) * (mean of all
    seeds), the combination of least variance. They count for much where a seed says little
    (slope 0) and for nothing where it says all (slope 1).

    Args:
        scores: [..., cells, n].
        baseline: [..., n0], the first n of the same seeds. Extra ones are used with two cells or
            more; a single cell keeps to its pairs and so to the exact paired t.
    """
    cells, n = scores.shape[-2:]
    paired, extra = baseline[..., :n], baseline[..., n:]
    assert paired.shape[-1] == n, (scores.shape, baseline.shape)
    if cells == 1 or not extra.shape[-1]:
        gaps = scores - paired[..., None, :]
        return _estimate(gaps.mean(axis=-1), moderate(gaps), n, 0.0, math.inf)
    slope = _slope(scores, paired)
    weight = slope + (1.0 - slope) * n / baseline.shape[-1]
    z = scores - weight[..., None, None] * paired[..., None, :]
    spread = _less_one(moderate(z), n - 1, slope > 0.0)
    rest = 1.0 - weight
    difference = z.mean(axis=-1) - (rest * extra.mean(axis=-1))[..., None]
    variance = rest**2 * baseline.var(axis=-1, ddof=1) / extra.shape[-1]
    return _estimate(difference, spread, n, variance, baseline.shape[-1] - 1)


def independent(scores: Array, baseline: Array) -> Estimate:
    """Cells [..., cells, n] and baseline [..., n0] of unrelated seeds and spreads."""
    n, n0 = scores.shape[-1], baseline.shape[-1]
    difference = scores.mean(axis=-1) - baseline.mean(axis=-1)[..., None]
    variance = baseline.var(axis=-1, ddof=1) / n0
    return _estimate(difference, moderate(scores), n, variance, n0 - 1)


def dunnett(scores: Array, baseline: Array) -> Estimate:
    """Dunnett's comparison of unrelated seeds, with one spread for all (Dunnett 1955)."""
    cells, n = scores.shape[-2:]
    n0 = baseline.shape[-1]
    df = cells * (n - 1) + n0 - 1
    squares = scores.var(axis=-1).sum(axis=-1) * n + baseline.var(axis=-1) * n0
    error = np.sqrt(squares / df * (1.0 / n + 1.0 / n0))
    return Estimate(
        difference=scores.mean(axis=-1) - baseline.mean(axis=-1)[..., None],
        error=np.repeat(error[..., None], cells, axis=-1),
        pooled_error=error,
        correlation=np.full_like(error, n / (n + n0)),
        common_df=np.full_like(error, df),
        own_df=np.full_like(error, math.inf),
    )


def _slope(scores: Array, baseline: Array) -> Array:
    """How a cell's score follows its baseline seed's, [...], 0 (not at all) to 1.

    The regression of the cells' mean on n baseline seeds, shrunk by 1 - 1/F towards 0, which it
    is where the seeds explain no more than chance does (F <= 1).
    """
    n = scores.shape[-1]
    if n == 2:
        return np.zeros(scores.shape[:-2])
    x = baseline - baseline.mean(axis=-1, keepdims=True)
    y = scores.mean(axis=-2)
    y = y - y.mean(axis=-1, keepdims=True)
    xx, xy, yy = (x * x).sum(axis=-1), (x * y).sum(axis=-1), (y * y).sum(axis=-1)
    follows = xy > 0.0
    xx, xy = np.where(follows, xx, 1.0), np.where(follows, xy, 1.0)
    explained = xy**2 / xx
    chance = np.maximum(yy - explained, 0.0) / (n - 2)
    slope = np.minimum(xy / xx, 1.0) * np.maximum(1.0 - chance / explained, 0.0)
    return np.where(follows, slope, 0.0)


def _less_one(spread: Spread, d: int, fitted: NDArray[np.bool_]) -> Spread:
    """Take from what the cells share the degree of freedom that a fitted slope used up."""
    add = np.where(fitted, spread.correlation * spread.pooled / max(d - 1, 1), 0.0)
    pooled = spread.pooled + add
    return Spread(
        pooled=pooled,
        moderated=spread.moderated + add[..., None],
        own_df=spread.own_df,
        pooled_df=spread.pooled_df * np.where(fitted, 1.0 - 1.0 / d, 1.0),
        correlation=(spread.correlation * spread.pooled + add) / pooled,
    )


def _estimate(
    difference: Array, spread: Spread, n: int, variance: Array | float, df: float
) -> Estimate:
    """Join the cells' spread over n seeds with a reference's variance [...] and its df.

    Degrees of freedom are joined by Satterthwaite's rule; of the cells' own ones, all take the
    least, which is that of the cell to whose variance the reference adds the least.
    """
    variance = np.broadcast_to(variance, spread.pooled.shape)
    pooled = spread.pooled / n + variance
    total = spread.moderated / n + variance[..., None]
    share = spread.pooled / n / pooled
    unsure = (variance / pooled) ** 2 / df
    correlation = (spread.correlation * spread.pooled / n + variance) / pooled
    if difference.shape[-1] == 1:
        correlation = np.zeros_like(pooled)
        common = np.full_like(pooled, math.inf)
        own = 1.0 / (share**2 / spread.own_df + unsure)
    else:
        common = 1.0 / (share**2 / spread.pooled_df + unsure)
        own = spread.own_df / (spread.moderated / n / total).max(axis=-1) ** 2
    return Estimate(difference, np.sqrt(total), np.sqrt(pooled), correlation, common, own)
