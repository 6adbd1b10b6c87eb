"""Records to verdicts: which scores are compared with which, and what is said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdsweep.results.data import CellVerdict, Sweep
from kdsweep.verdict import Cell, Outcome, blocked_map, cell_sentence, outcome_sentence

ADAPTIVE = (
    "No map verdict: the cells were proposed by a sampler that had seen earlier scores. "
    "Confirm the best of them on fresh seeds."
)
PRUNED = (
    "No map verdict: a pruner stopped cells by their scores, so those that are left were chosen "
    "by them. Confirm the best of them on fresh seeds."
)


def paired_scores(
    records: Sequence[dict[str, Any]], metric: str, baseline_metric: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [cells, n] and the baseline's [n], by seed, in percent; NaN where a seed failed.

    Where cells have baselines of their own (the learning rate is swept, say), the scores are the
    differences from them, and the baseline is 0.

    Args:
        records: of the cells.
        metric: of the student, such as val_accuracy.
        baseline_metric: where the baseline's score is kept among the student's metrics.
    """
    seeds = sorted({int(seed) for record in records for seed in record["seeds"]})
    scores = np.full((len(records), len(seeds)), np.nan)
    baselines = np.full_like(scores, np.nan)
    for row, record in enumerate(records):
        for column, seed in enumerate(seeds):
            kept = record["seeds"].get(str(seed))
            if kept is None:
                continue
            scores[row, column] = kept["metrics"].get(metric, np.nan)
            if baseline_metric is not None:
                baselines[row, column] = kept["metrics"].get(baseline_metric, np.nan)
            elif kept["baseline"] is not None:
                baselines[row, column] = kept["baseline"]["metrics"][metric]
    shared = np.nanmax(baselines, axis=0, initial=-np.inf)
    if np.all((baselines == shared) | np.isnan(baselines)):
        return scores, np.where(np.isfinite(shared), shared, np.nan)
    return scores - baselines, np.zeros(len(seeds))


def judge_sweep(sweep: Sweep, records: Sequence[dict[str, Any]], *, adaptive: bool) -> Sweep:
    """The sweep with a verdict for each cell, where verdicts can be given.

    Args:
        sweep: what ``summarise`` made of the records, in the same order.
        records: of its cells.
        adaptive: whether cells were chosen by what earlier ones scored.
    """
    if not sweep.objective.endswith("_accuracy") or "top5" in sweep.objective:
        return sweep
    if any(record["state"] == "pruned" for record in records):
        return dataclasses.replace(sweep, verdict_lines=(PRUNED,))
    if adaptive:
        return dataclasses.replace(sweep, verdict_lines=(ADAPTIVE,))
    scores, baseline = paired_scores(records, sweep.objective)
    if np.isnan(baseline).all():
        return sweep
    return with_verdicts(sweep, blocked_map(scores, baseline))


def with_verdicts(sweep: Sweep, outcome: Outcome) -> Sweep:
    """The sweep with the outcome's verdicts, a sentence for each telling cell and one for all."""
    cells = tuple(
        dataclasses.replace(cell, verdict=_cell_verdict(judged))
        for cell, judged in zip(sweep.cells, outcome.cells, strict=True)
    )
    told = [
        cell_sentence(cell.label, judged, outcome)
        for cell, judged in zip(sweep.cells, outcome.cells, strict=True)
        if judged.low is not None and judged.verdict in _TELLING
    ]
    return dataclasses.replace(
        sweep,
        cells=cells,
        verdict_lines=(*told, f"Verdict: {outcome_sentence(outcome)}"),
        equivalence=outcome.margin,
    )


_TELLING = ("positive", "negative", "equivalent")


def _cell_verdict(cell: Cell) -> CellVerdict | None:
    if cell.low is None or cell.high is None or cell.difference is None:
        return None
    return CellVerdict(
        word=str(cell.verdict),
        difference=cell.difference,
        low=cell.low,
        high=cell.high,
        p_better=cell.p_better,
    )
