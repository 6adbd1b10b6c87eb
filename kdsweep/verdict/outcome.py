"""What the statistics say of each cell, and of all cells together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.estimate import Estimate
from kdsweep.verdict.maximum import below, critical_value, detectable, expected_maximum

Array = NDArray[np.float64]

POWER = 0.8  # of the smallest effect that is said to have been findable


class Verdict(StrEnum):
    """The four answers. The order of the rules is theirs: significant comes before equivalent."""

    POSITIVE = "positive"  # the interval lies above 0, however little
    NEGATIVE = "negative"  # below 0
    EQUIVALENT = "equivalent"  # it holds 0 and lies within the margin
    INCONCLUSIVE = "inconclusive"


class Design(StrEnum):
    """How cells and baseline are related."""

    BLOCKED = "blocked"  # same seeds, batches and augmentations
    INDEPENDENT = "independent"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell against the baseline; differences are cell minus baseline, in points.

    Everything that needs an interval is None where ``reason`` says why there is none.
    """

    verdict: Verdict
    difference: float | None  # None where no seed finished
    n: int  # seeds of the cell that finished
    low: float | None = None  # simultaneous confidence interval over all judged cells
    high: float | None = None
    p_better: float | None = None  # posterior P(true mean difference > 0), flat prior, this cell
    seeds_better: float | None = None  # share of (cell, baseline) seed pairs won; a tie is half
    smallest_effect: float | None = None  # true difference found with probability POWER
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdicts of one family of cells, in the order of the scores' rows."""

    cells: tuple[Cell, ...]
    design: Design
    level: float  # simultaneous confidence
    margin: float  # points
    n: int  # seeds per cell
    baseline_n: int  # seeds of the baseline that finished
    judged: int  # cells that have an interval: the family of the simultaneous level
    luck: float | None  # points by which the best of so many equal cells would seem better


def classify(low: float, high: float, margin: float) -> Verdict:
    """The verdict that an interval earns; margin in points."""
    if low > 0.0:
        return Verdict.POSITIVE
    if high < 0.0:
        return Verdict.NEGATIVE
    if -margin <= low and high <= margin:
        return Verdict.EQUIVALENT
    return Verdict.INCONCLUSIVE


def judge(
    estimate: Estimate, *, level: float, margin: float, n: int, seeds_better: Array
) -> tuple[list[Cell], float]:
    """Cells with verdicts, and the luck of the best, from the estimate of one map.

    ``p_better`` is of each cell alone, by its t distribution, not adjusted for the others; the
    smallest effect is at the simultaneous level and takes the estimated spread for the true one.
    """
    cells = len(estimate.difference)
    correlation = float(estimate.correlation)
    common_df, own_df = float(estimate.common_df), float(estimate.own_df)
    critical = critical_value(
        level=level, cells=cells, correlation=correlation, common_df=common_df, own_df=own_df
    )
    effect = detectable(critical, power=POWER, common_df=common_df, own_df=own_df)
    judged = []
    for difference, error, won in zip(
        estimate.difference.tolist(), estimate.error.tolist(), seeds_better.tolist(), strict=True
    ):
        low, high = difference - critical * error, difference + critical * error
        judged.append(
            Cell(
                verdict=classify(low, high, margin),
                difference=difference,
                n=n,
                low=low,
                high=high,
                p_better=below(difference / error, common_df=common_df, own_df=own_df),
                seeds_better=won,
                smallest_effect=effect * error,
            )
        )
    own_error = float(estimate.pooled_error) * math.sqrt(max(0.0, 1.0 - correlation))
    return judged, own_error * expected_maximum(cells)
