"""Verdicts over a map of cells: distilled students against the baseline, in percent accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict import estimate
from kdsweep.verdict.outcome import Cell, Design, Outcome, Verdict, judge

Array = NDArray[np.float64]

LEVEL = 0.95  # of simultaneous confidence
MARGIN = 0.1  # points

_ROUNDING = 1e-9  # points: accuracies are counts over images, so less than this is no difference
_IDENTICAL = "equal to the baseline on every seed"


def blocked_map(
    scores: Array, baseline: Array, *, level: float = LEVEL, margin: float = MARGIN
) -> Outcome:
    """Judge cells that share seeds, batches and augmentations with the baseline.

    A seed whose baseline failed (NaN) is left out of every cell. A cell with a failed seed is
    not judged, since the seeds that survive flatter it; nor is a cell that equals the baseline
    on every seed (alpha = 0 in a fused sweep), which would only lower the pooled spread.

    Args:
        scores: [cells, n] percent; higher is better.
        baseline: [n0], n0 >= n, the first n of the same seeds in the same order.
        level: of the simultaneous confidence intervals.
        margin: points within which a difference does not matter.
    """
    n = scores.shape[1]
    assert baseline.ndim == 1, baseline.shape
    assert len(baseline) >= n, (scores.shape, baseline.shape)
    failed = np.isnan(scores).sum(axis=1)
    kept = ~np.isnan(baseline[:n])
    scores = scores[:, kept]
    baseline = np.concatenate([baseline[:n][kept], _finished(baseline[n:])])
    gaps = scores - baseline[: scores.shape[1]]
    identical = (np.abs(gaps) <= _ROUNDING).all(axis=1) & (gaps.shape[1] > 0)
    reasons = [
        _failure(count, n) or (_IDENTICAL if same else "")
        for count, same in zip(failed.tolist(), identical.tolist(), strict=True)
    ]
    return _outcome(
        scores,
        baseline,
        gaps,
        estimate.blocked,
        reasons,
        design=Design.BLOCKED,
        level=level,
        margin=margin,
    )


def independent_map(
    scores: Array,
    baseline: Array,
    *,
    equal_spread: bool = True,
    level: float = LEVEL,
    margin: float = MARGIN,
) -> Outcome:
    """Judge cells whose seeds are unrelated to the baseline's, by Dunnett's test.

    Failed seeds (NaN) are treated as in ``blocked_map``.

    Args:
        scores: [cells, n] percent; higher is better.
        baseline: [n0] percent.
        equal_spread: one variance for all cells and the baseline, which makes it Dunnett's test
            (``scipy.stats.dunnett``'s intervals). False lets them differ, with ``spread``'s
            moderated variances, and costs about a sixth in width.
        level: of the simultaneous confidence intervals.
        margin: points within which a difference does not matter.
    """
    n = scores.shape[1]
    assert baseline.ndim == 1, baseline.shape
    reasons = [_failure(count, n) for count in np.isnan(scores).sum(axis=1).tolist()]
    baseline = _finished(baseline)
    gaps = (scores[:, :, None] - baseline).reshape(len(scores), -1)
    return _outcome(
        scores,
        baseline,
        gaps,
        estimate.dunnett if equal_spread else estimate.independent,
        reasons,
        design=Design.INDEPENDENT,
        level=level,
        margin=margin,
    )


def _failure(count: int, n: int) -> str:
    return f"{count} of {n} seeds failed" if count else ""


def _finished(values: Array) -> Array:
    return values[~np.isnan(values)]


def _outcome(
    scores: Array,
    baseline: Array,
    gaps: Array,
    estimator: Callable[[Array, Array], estimate.Estimate],
    reasons: Sequence[str],
    *,
    design: Design,
    level: float,
    margin: float,
) -> Outcome:
    """Judge the cells without a reason not to be; gaps [cells, pairs] are score minus baseline."""
    n = scores.shape[1]
    obstacle = _obstacle(n, len(baseline), design)
    judged = [i for i, reason in enumerate(reasons) if not reason]
    if not obstacle and judged and not _varies(scores, baseline, gaps, judged, design):
        obstacle = "no spread between seeds to judge by"
    if obstacle:
        judged, reasons = [], [reason or obstacle for reason in reasons]
    verdicts: dict[int, Cell] = {}
    luck = None
    if judged:
        cells, luck = judge(
            estimator(scores[judged], baseline),
            level=level,
            margin=margin,
            n=n,
            seeds_better=_won(gaps[judged]),
        )
        verdicts = dict(zip(judged, cells, strict=True))
    return Outcome(
        cells=tuple(
            verdicts.get(i) or _unjudged(scores[i], gaps[i], reason)
            for i, reason in enumerate(reasons)
        ),
        design=design,
        level=level,
        margin=margin,
        n=n,
        baseline_n=len(baseline),
        judged=len(judged),
        luck=luck,
    )


def _obstacle(n: int, baseline_n: int, design: Design) -> str:
    """Why no cell can be judged, or nothing."""
    if baseline_n == 0 or n == 0:
        return "no seed of the baseline finished"
    if n == 1:
        return "one seed shows no spread to judge by"
    if baseline_n == 1 and design is Design.INDEPENDENT:
        return "one seed of the baseline shows no spread to judge by"
    return ""


def _varies(
    scores: Array, baseline: Array, gaps: Array, judged: list[int], design: Design
) -> bool:
    """Whether there is any spread between seeds, rounding apart."""
    if design is Design.BLOCKED:
        return bool((np.ptp(gaps[judged], axis=1) > _ROUNDING).any())
    spread = np.append(np.ptp(scores[judged], axis=1), np.ptp(baseline))
    return bool((spread > _ROUNDING).any())


def _won(gaps: Array) -> Array:
    """Share [cells] of pairs in which the cell is better; a tie is half."""
    tied = np.abs(gaps) <= _ROUNDING
    return np.asarray(np.where(tied, 0.5, gaps > 0.0).mean(axis=1))


def _unjudged(scores: Array, gaps: Array, reason: str) -> Cell:
    known = _finished(gaps)
    return Cell(
        verdict=Verdict.INCONCLUSIVE,
        difference=float(known.mean()) if known.size else None,
        n=len(_finished(scores)),
        reason=reason,
    )
