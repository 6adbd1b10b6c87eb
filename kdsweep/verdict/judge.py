"""From the values that a race has seen to its verdicts: a replay, without any state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.design import RaceDesign
from kdsweep.verdict.outcome import Average, Cell, Outcome, Verdict
from kdsweep.verdict.race import BETTER, EQUIVALENT, OPEN, WORSE, Comparisons, Race, race

Array = NDArray[np.float64]

_VERDICTS = {
    BETTER: Verdict.BETTER,
    WORSE: Verdict.WORSE,
    EQUIVALENT: Verdict.EQUIVALENT,
    OPEN: Verdict.OPEN,
}
_MOST_SEEDS = 1_000  # beyond which nobody is told how many more it would take


def judge(design: RaceDesign, scores: Sequence[Array], baselines: Sequence[Array]) -> Outcome:
    """Replay a race from the values it has seen, as far as they go.

    It is a function of the values alone: whoever is given the same ones comes to the same rounds
    and verdicts. A round is judged once every cell in it and their baselines have all of its
    seeds; values beyond a cell's last round are not looked at.

    Args:
        design: fixed before the first training.
        scores: of each cell its values in percent, in the order of its seeds; NaN for a seed that
            failed. Higher is better.
        baselines: of each baseline likewise, of seeds that no cell has.
    """
    rounds = judge_rounds(design, scores, baselines)
    return rounds[-1] if rounds else _unjudged(design, scores, baselines)


def judge_rounds(
    design: RaceDesign, scores: Sequence[Array], baselines: Sequence[Array]
) -> list[Outcome]:
    """What ``judge`` came to after each complete round; none before the first is complete."""
    assert len(scores) == design.cells, (len(scores), design.cells)
    assert len(baselines) == design.baseline_count, (len(baselines), design.baseline_count)
    values = _padded(scores, design.seeds[-1])
    theirs = _padded(baselines, design.baselines[-1])
    groups = np.array(design.groups)
    going = np.ones(design.cells, bool)
    done, outcomes = 0, []
    while done < design.rounds and going.any():
        n, n0 = design.seeds[done], design.baselines[done]
        behind = any(len(scores[i]) < n for i in np.flatnonzero(going).tolist())
        if behind or any(len(baselines[g]) < n0 for g in set(groups[going].tolist())):
            break
        done += 1
        state = race(design, values, theirs, rounds=done)
        going = state.racing[0]
        outcomes.append(_outcome(design, values[0], theirs[0], state, done))
    return outcomes


def _padded(rows: Sequence[Array], width: int) -> Array:
    """The rows [1, rows, width], cut or filled with NaN."""
    filled = np.full((1, len(rows), width), np.nan)
    for row, values in zip(filled[0], rows, strict=True):
        row[: len(values)] = values[:width]
    return filled


def _unjudged(design: RaceDesign, scores: Sequence[Array], baselines: Sequence[Array]) -> Outcome:
    """The differences so far, before the first round is complete."""
    means = [_mean(values[: design.baselines[0]]) for values in baselines]
    cells = []
    for values, group in zip(scores, design.groups, strict=True):
        seen = values[: design.seeds[0]]
        difference = _mean(seen) - means[group]
        n = int((~np.isnan(seen)).sum())
        cells.append(
            Cell(
                verdict=Verdict.OPEN,
                difference=None if math.isnan(difference) else difference,
                n=n,
                failed=len(seen) - n,
                reason="round 1 is not complete",
                round=0,
                racing=True,
            )
        )
    return Outcome(
        design=design,
        cells=tuple(cells),
        averages=(),
        round=0,
        baseline_mean=tuple(means),
        baseline_n=tuple(int((~np.isnan(b[: design.baselines[0]])).sum()) for b in baselines),
        trainings=design.trainings(1),
    )


def _outcome(
    design: RaceDesign, scores: Array, baselines: Array, state: Race, done: int
) -> Outcome:
    """Put the arrays of one race into words and numbers."""
    seeds = np.array(design.seeds)[state.last[0] - 1]
    baseline_seeds = np.array(design.baselines)[state.baseline_last[0] - 1]
    seen = [values[:n] for values, n in zip(baselines, baseline_seeds, strict=True)]
    means = [_mean(values) for values in seen]
    finished = [int((~np.isnan(values)).sum()) for values in seen]
    more = _more_seeds(design, state.cells, seeds)
    cells = []
    for i, (n, group) in enumerate(zip(seeds.tolist(), design.groups, strict=True)):
        good = int((~np.isnan(scores[i, :n])).sum())
        common = _comparison(state.cells, i, good, n, means[group], finished[group])
        cells.append(
            Cell(
                **common,
                round=int(state.last[0, i]),
                racing=bool(state.racing[0, i]),
                more_seeds=more[i] if common["verdict"] is Verdict.OPEN else None,
            )
        )
    return Outcome(
        design=design,
        cells=tuple(cells),
        averages=_averages(design, scores, means, finished, state),
        round=done,
        baseline_mean=tuple(means),
        baseline_n=tuple(finished),
        trainings=int(seeds.sum() + baseline_seeds.sum()),
    )


def _averages(
    design: RaceDesign, scores: Array, means: Sequence[float], finished: list[int], state: Race
) -> tuple[Average, ...]:
    """The averages, which the first round alone decides."""
    n = design.seeds[0]
    members = np.arange(design.cells).reshape(design.axes or (design.cells,))
    averages = []
    for i, slice_ in enumerate(design.slices):
        part = slice_.of(members)
        rows = part.ravel()
        seen = ~np.isnan(scores[rows, :n])
        groups = [design.groups[row] for row in rows.tolist()]
        mean = float(np.mean([means[group] for group in groups]))
        least = min(finished[group] for group in groups)
        common = _comparison(state.averages, i, int(seen.sum()), seen.size, mean, least)
        averages.append(Average(**common, part=slice_))
    return tuple(averages)


def _comparison(
    found: Comparisons, i: int, good: int, n: int, baseline: float, baseline_n: int
) -> dict[str, Any]:
    """What cells and averages have in common; i is the row, good of n seeds finished."""
    from scipy.special import stdtr

    difference, error = float(found.difference[0, i]), float(found.error[0, i])
    known = {
        "verdict": _VERDICTS[int(found.verdict[0, i])],
        "difference": None if math.isnan(difference) else difference,
        "n": good,
        "failed": n - good,
    }
    if math.isnan(error):
        return {**known, "reason": _reason(good, n, baseline_n)}
    return {
        **known,
        "error": error,
        "low": max(float(found.low[0, i]), -baseline),
        "high": min(float(found.high[0, i]), 100.0 - baseline),
        "p_better": float(stdtr(found.df[0, i], difference / error)),
    }


def _reason(good: int, n: int, baseline_n: int) -> str:
    """Why there is no interval."""
    if baseline_n < 2:
        return "fewer than two seeds of the baseline finished"
    if good < n:
        return f"{n - good} of {n} seeds failed"
    if n == 1:
        return "one seed shows no spread to judge by"
    return "no spread between seeds to judge by"


def _more_seeds(design: RaceDesign, found: Comparisons, n: NDArray[np.int64]) -> list[int | None]:
    """How many more seeds each cell's present difference would take to be decided.

    By the level of the last round, with the baseline's seeds in proportion to the cell's; None
    where there is no interval, or it would take ``_MOST_SEEDS``.
    """
    from scipy.special import stdtrit

    size = np.bincount(design.groups)[np.array(design.groups)]
    variance = found.own_variance[0] + found.baseline_variance[0] / np.sqrt(size)
    more: list[int | None] = []
    for i, seeds in enumerate(n.tolist()):
        later = np.arange(seeds + 1, _MOST_SEEDS)
        df = found.df[0, i] * later / seeds
        limit = stdtrit(df, 1.0 - 0.5 * design.cell_levels[-1])
        decided = limit * np.sqrt(variance[i] / later) < abs(found.difference[0, i])
        more.append(int(decided.argmax()) + 1 if decided.any() else None)
    return more


def _mean(values: Array) -> float:
    """Of what finished; NaN where nothing did."""
    good = values[~np.isnan(values)]
    return float(good.mean()) if good.size else math.nan
