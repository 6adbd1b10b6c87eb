"""The end of a study's session: its best trials, or why there are none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import optuna
from omegaconf import OmegaConf
from optuna.trial import TrialState

from kdsweep.errors import TrainingError
from kdsweep.store import writable
from kdsweep.sweep import study as studies

log = logging.getLogger(__name__)


def conclude(study: optuna.Study, folder: Path) -> None:
    """Write the best of a study that has ended, or say why there is none.

    Raises:
        TrainingError: every trial failed.
    """
    running = studies.count(study, (TrialState.RUNNING,))
    if running:
        log.info(
            "study %s: %d trials are still running in other processes; the one that ends "
            "last reports them, and the same command does so later",
            study.study_name,
            running,
        )
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        states = (TrialState.RUNNING, TrialState.WAITING, TrialState.PRUNED)
        if studies.count(study, states):  # in other processes, or after the timeout
            return
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        reason = failed[-1].user_attrs.get(studies.REASON, "unknown") if failed else "none ran"
        raise TrainingError(f"study {study.study_name}: every trial failed; the last: {reason}")
    if len(study.directions) == 1:
        best = study.best_trial
        results: dict[str, Any] = {
            "name": "optuna",
            "best_params": best.params,
            "best_value": best.value,
        }
    else:
        results = {
            "name": "optuna",
            "solutions": [{"params": t.params, "values": t.values} for t in study.best_trials],
        }
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.create(results), folder / "optimization_results.yaml")
