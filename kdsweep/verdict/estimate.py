"""Differences from the baseline, their standard errors, and the degrees of freedom of these.

Cells and baseline are of unrelated seeds, of unequal numbers of them, and of unequal spreads: it
is Welch's comparison with moderated variances. Cells may share seeds with each other.
"""

from __future__ import annotations

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


def estimate(
    scores: Array, baselines: Array, weights: Array, *, seeds: Array | None = None
) -> Estimate:
    """Compare rows with weighted means of baselines.

    Args:
        scores: [..., rows, n], NaN where there is no such seed.
        baselines: [..., groups, n0], NaN likewise, of other seeds.
        weights: [rows, groups], each row's of the baselines, of sum 1.
        seeds: [..., rows], how many each row's mean is worth, by default those it has.
    """
    own, theirs = moderate(scores), moderate(baselines)
    used = weights > 0.0
    variance = own.moderated / (_count(scores) if seeds is None else seeds)
    error0 = weights**2 * (theirs.moderated / _count(baselines))[..., None, :]
    reference = np.where(used, error0, 0.0).sum(axis=-1)
    unsure = np.where(used, error0**2 / theirs.df[..., None, :], 0.0).sum(axis=-1)
    total = variance + reference
    means = np.where(used, weights * mean(baselines)[..., None, :], 0.0).sum(axis=-1)
    one_seed = np.where(used, weights * theirs.moderated[..., None, :], 0.0).sum(axis=-1)
    return Estimate(
        difference=mean(scores) - means,
        error=np.sqrt(total),
        df=total**2 / (variance**2 / own.df + unsure),
        own_variance=own.moderated,
        baseline_variance=one_seed,
    )


def mean(values: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Of what is there, along an axis; NaN where nothing is."""
    there = ~np.isnan(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _count(values: Array) -> Array:
    count: Array = (~np.isnan(values)).sum(axis=-1).astype(np.float64)
    return np.maximum(count, 1.0)
