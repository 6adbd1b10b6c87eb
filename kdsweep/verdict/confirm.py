"""The confirmation: the few chosen cells against the baseline on fresh seeds, judged once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.design import LEVEL, MARGIN, RaceDesign
from kdsweep.verdict.images import Bits, Crossed, crossed_bootstrap
from kdsweep.verdict.judge import judge
from kdsweep.verdict.outcome import Outcome

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Verdicts on fresh seeds, and how far the map had overrated what it chose."""

    outcome: Outcome  # one cell for each finalist, in order
    shrinkage: tuple[float | None, ...]  # points: the map's difference minus the fresh one
    images: tuple[Crossed, ...]  # each finalist's interval over seeds and images, if asked for

    def __str__(self) -> str:
        return str(self.outcome)


def confirm(
    scores: Sequence[Array],
    baselines: Sequence[Array],
    *,
    selected: Sequence[float | None],
    groups: Sequence[int] | None = None,
    bits: Sequence[Bits] = (),
    baseline_bits: Sequence[Bits] = (),
    level: float = LEVEL,
    margin: float = MARGIN,
) -> Confirmation:
    """Judge finalists on seeds that had no part in choosing them, simultaneously over all.

    None of the map's scores enters the verdict, so choosing costs nothing but seeds, and cells
    may be chosen for their harm as well as for their gain. It is a race of one round.

    Args:
        scores: of each finalist its values in percent, NaN for a failed seed.
        baselines: of each baseline likewise; ``baseline_seeds(n, finalists)`` of its own seeds.
        selected: the differences that the map gave the finalists.
        groups: which baseline each finalist is compared with, where there are several.
        bits: of each finalist [seeds, images], whether the answer is right; with
            ``baseline_bits`` they give the intervals over images.
        baseline_bits: of each baseline likewise.
        level: of the confidence intervals.
        margin: points within which a difference does not matter.
    """
    assert len(selected) == len(scores), (len(selected), len(scores))
    assert not bits or len(bits) == len(scores), (len(bits), len(scores))
    n, n0 = max(map(len, scores)), max(map(len, baselines))
    design = replace(
        RaceDesign.create(
            cells=len(scores), seeds=max(n, 1), groups=groups, level=level, margin=margin
        ),
        seeds=(n,),
        baselines=(n0,),
    )
    outcome = judge(design, [_filled(s, n) for s in scores], [_filled(b, n0) for b in baselines])
    shrinkage = tuple(
        None if before is None or cell.difference is None else before - cell.difference
        for before, cell in zip(selected, outcome.cells, strict=True)
    )
    images = tuple(
        crossed_bootstrap(own, baseline_bits[group], level=level)
        for own, group in zip(bits, design.groups, strict=False)
    )
    return Confirmation(outcome=outcome, shrinkage=shrinkage, images=images)


def _filled(values: Array, n: int) -> Array:
    """The values with NaN for the seeds that others have more."""
    return np.append(values, np.full(n - len(values), np.nan))
