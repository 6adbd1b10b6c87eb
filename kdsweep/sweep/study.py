"""The trials of a sweep's Optuna study: queued, claimed, asked for, told, put back.

Trials are claimed, not asked for, where the cells are known (an exact grid, enqueued points):
they are added as WAITING, and a process takes some while it holds the study (``exclusive``), so
several processes on one study never train the same cell. The storage alone does not see to that:
on SQLite, Optuna reads a trial's state and writes it in two steps.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep.tracking.owner import Owner, this_process

log = logging.getLogger(__name__)

OWNER = "kdsweep:owner"  # the process that trains, or trained, the trial
REASON = "kdsweep:reason"  # why it failed or was pruned
RETRY = "kdsweep:retry"  # how often its cell has been lost with its process
FINAL = "kdsweep:final"  # a failure that would only repeat itself

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def lost_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that dead processes of this host left RUNNING."""
    lost = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is not None and Owner.parse(owner).is_dead():
            lost.append(trial)
    return lost


def fail_lost(study: optuna.Study, trial: FrozenTrial, *, max_retries: int) -> bool:
    """Fail a trial whose process died; whether its cell waits again, or was lost too often."""
    lost = int(trial.user_attrs.get(RETRY, 0)) + 1
    if lost > max_retries:
        log.warning("trial %d: its process died, %d times by now; given up", trial.number, lost)
        study._storage.set_trial_user_attr(trial._trial_id, FINAL, True)
    if not _fail(study, trial, "its process died") or lost > max_retries:
        return False
    study.enqueue_trial(point(trial), user_attrs={RETRY: lost})
    return True


def _fail(study: optuna.Study, trial: FrozenTrial, reason: str) -> bool:
    try:
        study._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
        study.tell(trial.number, state=TrialState.FAIL)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
        return False  # another process was faster
    return True


def enqueue_missing(
    study: optuna.Study,
    cells: Sequence[Mapping[str, Any]],
    distributions: Mapping[str, BaseDistribution],
) -> int:
    """Add the cells that the study does not hold as WAITING trials; how many are new.

    A cell is there if it waits, runs, is finished, or failed in a way that would repeat itself
    or has used up its retries.
    """
    there = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state != TrialState.FAIL or trial.user_attrs.get(FINAL):
            there.append(point(trial))
    new = 0
    for cell in cells:
        if not any(same_cell(cell, known) for known in there):
            there.append(dict(cell))
            study.add_trial(  # with its parameters: suggesting them later takes a commit for each
                optuna.trial.create_trial(
                    state=TrialState.WAITING, params=dict(cell), distributions=dict(distributions)
                )
            )
            new += 1
    return new


def same_cell(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two points are the same; 1 and 1.0 are."""
    return one.keys() == other.keys() and all(one[key] == other[key] for key in one)


def claim(
    study: optuna.Study, distributions: Mapping[str, BaseDistribution], size: int
) -> list[Trial]:
    """Take up to ``size`` WAITING trials for this process, which holds the study."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return [_start(study, frozen, distributions) for frozen in waiting[:size]]


def _start(
    study: optuna.Study, frozen: FrozenTrial, distributions: Mapping[str, BaseDistribution]
) -> Trial:
    chosen = frozen._trial_id
    # The owner first: a trial that runs always has one, or nobody could tell that it is lost.
    study._storage.set_trial_user_attr(chosen, OWNER, str(this_process()))
    study._storage.set_trial_state_values(chosen, state=TrialState.RUNNING)
    study._thread_local.cached_all_trials = None  # as Study.ask does
    trial = Trial(study, chosen)
    for name, distribution in distributions.items():
        if name not in frozen.params:
            trial._suggest(name, distribution)
    return trial


def ask(
    study: optuna.Study,
    distributions: Mapping[str, BaseDistribution],
    sampler: Callable[[int], optuna.samplers.BaseSampler],
) -> Trial:
    """A new point from the sampler that is to draw the trial of this number."""
    blank = optuna.trial.create_trial(
        state=TrialState.RUNNING, user_attrs={OWNER: str(this_process())}
    )
    trial_id = study._storage.create_new_trial(study._study_id, template_trial=blank)
    study._thread_local.cached_all_trials = None  # as Study.ask does
    study.sampler = sampler(study._storage.get_trial_number_from_id(trial_id))
    trial = Trial(study, trial_id)
    for name, distribution in distributions.items():
        trial._suggest(name, distribution)
    return trial


def tell(
    study: optuna.Study,
    trial: Trial,
    *,
    state: TrialState,
    values: Sequence[float] | None = None,
    attributes: Mapping[str, Any],
) -> None:
    """End a trial with what is to be kept of it."""
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    study.tell(trial, state=state, values=list(values) if values is not None else None)


def name_values(study: optuna.Study, names: Sequence[str]) -> None:
    """Let the study say what its values are."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(names))


def release(study: optuna.Study, trials: Sequence[Trial], reason: str) -> None:
    """Fail trials that this process gives up untrained, and put their cells back."""
    for trial in trials:
        frozen = study._storage.get_trial(trial._trial_id)
        if frozen.state.is_finished():
            continue
        if _fail(study, frozen, reason):
            study.enqueue_trial(point(frozen), user_attrs={RETRY: frozen.user_attrs.get(RETRY, 0)})


def point(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's cell: what it waits with, and what was suggested before its process died."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def count(study: optuna.Study, states: Sequence[TrialState] = FINISHED) -> int:
    """How many trials are in one of these states."""
    return len(study.get_trials(deepcopy=False, states=tuple(states)))
