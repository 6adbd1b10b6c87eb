"""Differences from the baseline, their standard errors, and the degrees of freedom of these.

Cells and baseline are of unrelated seeds, of unequal numbers of them, and of unequal spreads: it
is Welch's comparison with moderated variances. Cells may share seeds with each other.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.spread import moderate

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """Differences [..., rows] in points; error and df are NaN where there is no spread."""

    difference: Array
    error: Array  # standard error
    df: Array  # of the error (Satterthwaite 1946)
    own_variance: Array  # of one seed of the row, points^2
    baseline_variance: Array  # of one seed of what it is compared with


def estimate(scores: Array, baselines: Array, weights: Array) -> Estimate:
    """Compare rows with weighted means of baselines.

    Args:
        scores: [..., rows, n], NaN where there is no such seed.
        baselines: [..., groups, n0], NaN likewise, of other seeds.
        weights: [rows, groups], each row's of the baselines, of sum 1.
    """
    own, theirs = moderate(scores), moderate(baselines)
    n, n0 = _count(scores), _count(baselines)
    used = weights > 0.0
    variance = own.moderated / n
    shares = weights**2 * np.where(used, (theirs.moderated / n0)[..., None, :], 0.0)
    reference = shares.sum(axis=-1)
    unsure = np.where(used, shares**2 / theirs.df[..., None, :], 0.0).sum(axis=-1)
    total = variance + reference
    means = np.where(used, _mean(baselines)[..., None, :], 0.0)
    spread = np.where(used, weights * theirs.moderated[..., None, :], 0.0).sum(axis=-1)
    return Estimate(
        difference=_mean(scores) - (weights * means).sum(axis=-1),
        error=np.sqrt(total),
        df=total**2 / (variance**2 / own.df + unsure),
        own_variance=own.moderated,
        baseline_variance=spread,
    )


def _count(values: Array) -> NDArray[np.int64]:
    return np.maximum((~np.isnan(values)).sum(axis=-1), 1)


def _mean(values: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing: NaN
        return np.asarray(np.nanmean(values, axis=-1))
