"""How much a cell's result varies between seeds, with strength borrowed from the other cells.

Five seeds give a variance four degrees of freedom, so that 25 cells judged one by one need
|t| > 7.2. The cells of a sweep are the same student on the same images, so their variances are
alike, but not surely equal. Each cell's own variance s_c^2 is therefore drawn towards the mean
of all (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3):

    moderated_c = (d0 * pooled + d * s_c^2) / (d0 + d),    d = n - 1.

d0 is what the spread of log s_c^2 over the cells says: infinite where the variances differ no
more than chance allows, near 0 where they differ wildly. Three departures from Smyth make it hold
for few seeds, few and correlated cells: d0 is the smallest that the spread leaves plausible (its
lower quartile, not its best guess), what chance allows is reduced by the correlation of the
variances, and a cell far noisier than the mean keeps its own variance.
The pooled variance itself is unsure by a Satterthwaite count of degrees of freedom, from an
unbiased estimate of tr(Sigma)^2 / tr(Sigma^2), since cells that share a baseline seed are not
independent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PLAUSIBLE = 0.25  # lower tail of the spread's chi-square: caution in borrowing
_TIE = 0.01  # lower tail of a pooled variance's: less is a tie by chance
_NOISY = 0.10  # upper tail of the same: a noisier cell is taken at its word


class Spread(NamedTuple):
    """Variances of seed results z [..., cells, n], in points^2, and how sure they are."""

    pooled: Array  # [...]: mean over the cells
    moderated: Array  # [..., cells]
    own_df: Array  # [...]: d0 + d
    pooled_df: Array  # [...]; infinite for a single cell, which has nothing to pool
    correlation: Array  # [...]: mean over pairs of cells, 0 to 1


def _inverse_trigamma(x: Array) -> Array:
    """Solve trigamma(y) = x by Newton steps on 1/trigamma (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    y = 0.5 + 1.0 / x
    for _ in range(20):
        value = polygamma(1, y)
        y = y + value * (1.0 - value / x) / polygamma(2, y)
    return y


def _prior_df(own: Array, d: int, correlation: Array) -> Array:
    """The smallest plausible d0 [...] for own variances [..., cells] of d degrees of freedom."""
    from scipy.special import chdtri, polygamma

    others = own.shape[-1] - 1
    spread = np.log(own).var(axis=-1, ddof=1) * others / chdtri(others, 1.0 - _PLAUSIBLE)
    excess = spread - polygamma(1, 0.5 * d) * (1.0 - correlation**2)
    unequal = excess > 1e-6
    return np.where(unequal, 2.0 * _inverse_trigamma(np.where(unequal, excess, 1.0)), math.inf)


def _pooled_df(centred: Array, d: int) -> Array:
    """Degrees of freedom [...] of the mean of correlated variances (Satterthwaite 1946).

    ``square`` is the unbiased estimate of tr(Sigma^2); the minus corrects tr(S)^2 likewise.
    """
    cells = centred.shape[-2]
    gram = np.swapaxes(centred, -1, -2) @ centred / d  # the non-zero eigenvalues of S
    trace = np.trace(gram, axis1=-2, axis2=-1)
    if d == 1:
        return np.ones_like(trace)  # rank one says nothing of Sigma's rank
    square = d * d / ((d - 1) * (d + 2)) * ((gram**2).sum((-2, -1)) - trace**2 / d)
    worth = np.where(square > 0.0, trace**2 / np.where(square > 0.0, square, 1.0), math.inf)
    return d * np.clip(worth - 2.0 / d, 1.0, cells)


def moderate(z: Array) -> Spread:
    """Borrow strength across cells.

    Args:
        z: [..., cells, n], n > 1 seed results, not all cells without any variance.
    """
    from scipy.special import chdtri

    cells, n = z.shape[-2:]
    d = n - 1
    assert d > 0, z.shape
    centred = z - z.mean(axis=-1, keepdims=True)
    own = (centred**2).sum(axis=-1) / d
    pooled = own.mean(axis=-1)
    assert bool((pooled > 0.0).all()), "no variance in any cell"
    if cells == 1:
        sure = np.full_like(pooled, math.inf)
        return Spread(pooled, own, np.full_like(pooled, d), sure, np.zeros_like(pooled))
    total = (centred.sum(axis=-2) ** 2).sum(axis=-1) / d
    covariance = (total - own.sum(axis=-1)) / (cells * (cells - 1))
    correlation = np.clip(covariance / pooled, 0.0, 1.0)
    # Accuracies are counts over a finite set, so a few seeds can agree to the last image.
    own = np.maximum(own, pooled[..., None] * (chdtri(d, 1.0 - _TIE) / d))
    noisy = own > pooled[..., None] * (chdtri(d, _NOISY) / d)
    d0 = _prior_df(own, d, correlation)
    weight = np.where(np.isinf(d0), 1.0, d0 / (np.where(np.isinf(d0), 1.0, d0) + d))[..., None]
    moderated = weight * pooled[..., None] + (1.0 - weight) * own
    moderated = np.where(noisy, np.maximum(own, moderated), moderated)
    return Spread(pooled, moderated, d0 + d, _pooled_df(centred, d), correlation)
