from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kdsweep.results.judgement import ADAPTIVE, PRUNED, judge_sweep, paired_scores
from kdsweep.results.summary import summarise
from kdsweep.verdict import blocked_map


def record(trial: int, scores: dict[int, float], baselines: dict[int, float]) -> dict[str, Any]:
    seeds = {
        str(seed): {
            "metrics": {"val_accuracy": score} if not math.isnan(score) else {},
            "history": [],
            "baseline": {
                "key": f"b{seed}-{baselines[seed]}", "name": "s", "seed": seed,
                "metrics": {"val_accuracy": baselines[seed]},
                "costs": {"parameters": 1.0, "size_mib": 1.0},
            },
        }
        for seed, score in scores.items()
    }  # fmt: skip
    return {
        "trial": trial, "overrides": [f"distill.temperature={trial}"], "state": "complete",
        "reason": None, "objectives": ["val_accuracy"], "split": "validation", "seconds": 1.0,
        "config": {"data": {"name": "digits"}, "objective": "accuracy"}, "teacher": None,
        "seeds": seeds, "costs": {"parameters": 1.0, "size_mib": 1.0},
    }  # fmt: skip


BASE = {0: 70.0, 1: 71.0, 2: 69.5, 3: 70.2, 4: 70.9}
BETTER = {seed: score + 3 + 0.1 * (-1) ** seed for seed, score in BASE.items()}
WORSE = {seed: score - 3 - 0.1 * (-1) ** seed for seed, score in BASE.items()}


def test_scores_and_baseline_are_paired_by_seed() -> None:
    records = [record(1, BETTER, BASE), record(2, WORSE, BASE)]
    scores, baseline = paired_scores(records, "val_accuracy")
    assert baseline.tolist() == list(BASE.values())
    assert scores.tolist() == [list(BETTER.values()), list(WORSE.values())]


def test_cells_with_baselines_of_their_own_are_differences() -> None:
    other = {seed: score - 1 for seed, score in BASE.items()}
    scores, baseline = paired_scores(
        [record(1, BETTER, BASE), record(2, WORSE, other)], "val_accuracy"
    )
    assert baseline.tolist() == [0.0] * 5
    assert scores[1] == pytest.approx([WORSE[s] - other[s] for s in BASE])


def test_a_failed_seed_is_nan() -> None:
    scores, _ = paired_scores([record(1, {**BETTER, 3: float("nan")}, BASE)], "val_accuracy")
    assert np.isnan(scores[0]).tolist() == [False, False, False, True, False]


def test_every_cell_gets_the_verdict_of_the_map() -> None:
    records = [record(1, BETTER, BASE), record(2, WORSE, BASE)]
    sweep = judge_sweep(summarise("s", records), records, adaptive=False)
    words = [cell.verdict.word for cell in sweep.cells if cell.verdict is not None]
    assert words == ["better", "worse"]
    outcome = blocked_map(*paired_scores(records, "val_accuracy"))
    assert sweep.cells[0].verdict is not None
    assert sweep.cells[0].verdict.low == outcome.cells[0].low
    assert sweep.verdict_lines[-1].startswith("Verdict: 2 cells: 1 positive, 1 negative")


def test_adaptive_cells_get_no_map_verdict() -> None:
    records = [record(1, BETTER, BASE)]
    sweep = judge_sweep(summarise("s", records), records, adaptive=True)
    assert sweep.verdict_lines == (ADAPTIVE,)
    assert sweep.cells[0].verdict is None


def test_survivors_of_a_pruner_get_no_map_verdict() -> None:
    records = [record(1, BETTER, BASE), {**record(2, WORSE, BASE), "state": "pruned"}]
    sweep = judge_sweep(summarise("s", records), records, adaptive=False)
    assert sweep.verdict_lines == (PRUNED,)
    assert all(cell.verdict is None for cell in sweep.cells)


def test_one_seed_is_told_to_be_too_few() -> None:
    records = [record(1, {0: 80.0}, {0: 70.0})]
    sweep = judge_sweep(summarise("s", records), records, adaptive=False)
    assert sweep.cells[0].verdict is None
    assert "open" in sweep.verdict_lines[-1]
