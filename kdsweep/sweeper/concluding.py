"""The end of a study's session: its best cells, or why there are none."""

from __future__ import annotations

import logging
import statistics
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState

from kdsweep.errors import TrainingError
from kdsweep.store import writable
from kdsweep.sweeper.study import REASON, SweepStudy, unit_of

log = logging.getLogger(__name__)


def conclude(study: SweepStudy, folder: Path) -> None:
    """Write the best of a study that has ended, or say why there is none.

    Raises:
        TrainingError: every trial failed.
    """
    running = len(study.trials(TrialState.RUNNING))
    if running:
        log.info(
            "study %s: %d trials are still running in other processes; the one that ends "
            "last reports them, and the same command does so later",
            study.name,
            running,
        )
    complete = study.trials(TrialState.COMPLETE)
    if not complete:
        if study.trials(TrialState.RUNNING, TrialState.WAITING, TrialState.PRUNED):
            return  # in other processes, or after the timeout
        failed = study.trials(TrialState.FAIL)
        reason = failed[-1].user_attrs.get(REASON, "unknown") if failed else "none ran"
        raise TrainingError(f"study {study.name}: every trial failed; the last: {reason}")
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        best = OmegaConf.create(_best(study, complete))
        OmegaConf.save(best, folder / "optimization_results.yaml")


def _best(study: SweepStudy, complete: list[FrozenTrial]) -> dict[str, Any]:
    """What the official sweeper writes, a cell's value being the mean over its rounds."""
    if len(study.study.directions) > 1:
        trials = study.study.best_trials
        return {
            "name": "optuna",
            "solutions": [{"params": t.params, "values": t.values} for t in trials],
        }
    values: dict[frozenset[tuple[str, Any]], list[float]] = {}
    for trial in complete:
        values.setdefault(unit_of(trial).point, []).append(trial.values[0])
    means = {point: statistics.fmean(found) for point, found in values.items()}
    choose = max if study.study.directions[0].name == "MAXIMIZE" else min
    best = choose(means, key=lambda point: means[point])
    ordered = {key: dict(best)[key] for key in study.distributions}
    return {"name": "optuna", "best_params": ordered, "best_value": means[best]}
