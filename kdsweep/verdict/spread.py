"""How much a cell's result varies between seeds, with strength borrowed from the other cells.

Three seeds give a variance two degrees of freedom, so that 25 cells judged one by one need
|t| > 22. The cells of a sweep are the same student on the same images, so their variances are
alike, but not surely equal. Each cell's own variance s_c^2, of d_c = n_c - 1 degrees of freedom,
is therefore drawn towards the mean of all (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3):

    moderated_c = (d0 * pooled + d_c * s_c^2) / (d0 + d_c).

d0 is what the spread of log s_c^2 over the cells says: large where the variances differ no more
than chance allows, near 0 where they differ wildly. Four departures from Smyth make it hold for
few seeds and for few and correlated cells: d0 is the one whose spread would be exceeded half of
the time; it is at most half of the other cells' degrees of freedom, so that a cell alone keeps to
itself; what chance allows is reduced by the correlation of the variances; and a cell far noisier
than the mean keeps its own variance.

The pooled variance itself is unsure: cells may share seeds, and then 25 of them are worth less
than 25. With S_c the sums of squares, Var(sum S_c) = 2 sum_ij d_ij sigma_ij^2, where d_ij + 1
seeds are common to the cells i and j, so its degrees of freedom are (Satterthwaite 1946)

    (sum_c d_c sigma_c^2)^2 / sum_ij d_ij sigma_ij^2,

with unbiased estimates of the squares.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PLAUSIBLE = 0.5  # tail of the spread's chi-square at which d0 is taken
_TIE = 0.01  # lower tail of a pooled variance's: less is a tie by chance
_TRUST = 0.5  # of the other cells' degrees of freedom: the most that d0 can be
_NOISY = 0.15  # upper tail of a pooled variance's: a noisier cell is taken at its word
_ROUNDING = 1e-9  # points: accuracies are counts over images, so less is no spread


class Spread(NamedTuple):
    """Variances of cells' seeds, in points^2, and how sure they are; NaN where n < 2."""

    moderated: Array  # [..., cells]
    df: Array  # [..., cells]: of the moderated variance


def moderate(scores: Array) -> Spread:
    """Borrow strength across cells.

    Args:
        scores: [..., cells, seeds], NaN where a cell has no such seed. Equal slices in the last
            dimension may be the same seed.
    """
    from scipy.special import chdtri

    seen = ~np.isnan(scores)
    n = seen.sum(axis=-1)
    judged = n > 1
    d = np.where(judged, n - 1, 1)
    centre = np.where(seen, scores, 0.0).sum(axis=-1) / np.maximum(n, 1)
    centred = np.where(seen & judged[..., None], scores - centre[..., None], 0.0)
    squares = (centred**2).sum(axis=-1)
    total_df = (d * judged).sum(axis=-1)
    pooled = squares.sum(axis=-1) / np.maximum(total_df, 1)
    pooled = np.where(pooled > _ROUNDING**2, pooled, math.nan)[..., None]
    own = squares / d
    pooled_df, correlation = _pooled_df(centred, seen & judged[..., None], squares)
    # Accuracies are counts over a finite set, so a few seeds can agree to the last image.
    own = np.maximum(own, pooled * (chdtri(d, 1.0 - _TIE) / d))
    noisy = own > pooled * (chdtri(d, _NOISY) / d)
    others = total_df[..., None] - d
    d0 = np.minimum(_prior_df(own, d, judged, correlation)[..., None], _TRUST * others)
    weight = d0 / (d0 + d)
    moderated = weight * pooled + (1.0 - weight) * own
    moderated = np.where(noisy, np.maximum(own, moderated), moderated)
    # As far as it rests on the pooled variance, it is as unsure as that.
    df = 1.0 / (1.0 / (d0 + d) + weight**2 / pooled_df[..., None])
    known = judged & ~np.isnan(pooled)
    return Spread(np.where(known, moderated, math.nan), np.where(known, df, math.nan))


def _prior_df(own: Array, d: NDArray[np.int64], judged: NDArray[np.bool_], r: Array) -> Array:
    """Smyth's d0 [...] for variances own [..., cells] of d degrees of freedom, correlated by r.

    The logs are compared after taking off what their expectations owe to d.
    """
    from scipy.special import chdtri, digamma, polygamma

    count = judged.sum(axis=-1)
    others = np.maximum(count - 1, 1)
    half = 0.5 * d
    log = np.where(judged, np.log(own) - digamma(half) + np.log(half), 0.0)
    mean = log.sum(axis=-1) / np.maximum(count, 1)
    squares = (np.where(judged, log - mean[..., None], 0.0) ** 2).sum(axis=-1)
    chance = (np.where(judged, polygamma(1, half), 0.0)).sum(axis=-1) / np.maximum(count, 1)
    excess = squares / chdtri(others, 1.0 - _PLAUSIBLE) - chance * (1.0 - r**2)
    unequal = excess > 1e-6
    return np.where(unequal, 2.0 * _inverse_trigamma(np.where(unequal, excess, 1.0)), math.inf)


def _inverse_trigamma(x: Array) -> Array:
    """Solve trigamma(y) = x by Newton steps on 1/trigamma (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    y = 0.5 + 1.0 / x
    for _ in range(20):
        value = polygamma(1, y)
        y = y + value * (1.0 - value / x) / polygamma(2, y)
    return y


def _pooled_df(centred: Array, seen: NDArray[np.bool_], squares: Array) -> tuple[Array, Array]:
    """Degrees of freedom of the pooled variance, and the cells' mean correlation, both [...].

    Args:
        centred: [..., cells, seeds], each cell's seeds less their mean, 0 where not seen.
        seen: [..., cells, seeds].
        squares: [..., cells], sums of squares.
    """
    ones = seen.astype(np.float64)
    flip = np.swapaxes(ones, -1, -2)
    common = ones @ flip  # [..., cells, cells]: seeds of both
    d = np.maximum(common - 1.0, 0.0)
    divisor = np.maximum(d, 1.0)
    sums = centred @ flip  # of the first cell, over common seeds
    crossed = np.swapaxes(sums, -1, -2)
    count = np.maximum(common, 1.0)
    product = (centred @ np.swapaxes(centred, -1, -2) - sums * crossed / count) / divisor
    own = (centred**2 @ flip - sums**2 / count) / divisor
    both = own * np.swapaxes(own, -1, -2)
    # Of Wishart matrices: E s_ij^2 = sigma_ij^2 (1 + 1/d) + sigma_i^2 sigma_j^2 / d and so on;
    # with one degree of freedom any two cells seem to vary as one, and are taken to.
    scale = np.where(d > 1.0, d * d / (np.maximum(d - 1.0, 1.0) * (d + 2.0)), 1.0)
    square = scale * (product**2 - np.where(d > 1.0, both / divisor, 0.0))
    total = (d * square).sum(axis=(-2, -1))
    degrees = np.diagonal(d, axis1=-2, axis2=-1)
    worth = np.where(total > 0.0, squares.sum(-1) ** 2 / np.where(total > 0.0, total, 1.0), 1e12)
    df = np.clip(worth - 2.0, np.maximum(degrees.max(-1), 1.0), np.maximum(degrees.sum(-1), 1.0))
    off = d * (1.0 - np.eye(d.shape[-1]))
    pairs = np.maximum(off.sum(axis=(-2, -1)), 1.0)
    covariance = (off * product).sum(axis=(-2, -1)) / pairs
    variance = (off * own).sum(axis=(-2, -1)) / pairs
    variance = np.where(variance > 0.0, variance, 1.0)
    return df, np.clip(covariance / variance, 0.0, 1.0)
