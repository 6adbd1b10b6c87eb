"""The confirmation: the few chosen cells against the baseline on fresh seeds, judged once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.maps import LEVEL, MARGIN, blocked_map, independent_map
from kdsweep.verdict.outcome import Outcome

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Verdicts on fresh seeds, and how far the map had overrated what it chose."""

    outcome: Outcome  # one cell for each finalist, in order
    shrinkage: tuple[float | None, ...]  # points: the map's difference minus the fresh one


def confirm(
    scores: Array,
    baseline: Array,
    *,
    paired: bool,
    selected: Sequence[float | None],
    level: float = LEVEL,
    margin: float = MARGIN,
) -> Confirmation:
    """Judge k finalists on seeds that had no part in choosing them, simultaneously over the k.

    None of the map's scores enters the verdict, so choosing the best costs nothing but seeds.

    Args:
        scores: [k, n] percent, n fresh seeds per finalist.
        baseline: [n0] percent, as fresh; n0 >= n and the first n the same seeds where paired.
        paired: whether finalists and baseline share seeds, batches and augmentations.
        selected: the differences [k] that the map gave the finalists.
        level: of the simultaneous confidence intervals.
        margin: points within which a difference does not matter.
    """
    assert len(selected) == len(scores), (len(selected), scores.shape)
    judge = blocked_map if paired else independent_map
    outcome = judge(scores, baseline, level=level, margin=margin)
    shrinkage = tuple(
        None if before is None or cell.difference is None else before - cell.difference
        for before, cell in zip(selected, outcome.cells, strict=True)
    )
    return Confirmation(outcome=outcome, shrinkage=shrinkage)
