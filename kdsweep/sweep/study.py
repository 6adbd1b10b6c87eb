"""The Optuna study of a sweep: opened, named, claimed from and told.

Trials are claimed, not asked for, where the cells are known (an exact grid, enqueued points):
they are added as WAITING, and a process takes one by the storage's compare-and-set, so several
processes on one study never train the same cell.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep import store
from kdsweep.errors import UserError
from kdsweep.tracking.owner import Owner, this_process

log = logging.getLogger(__name__)

OWNER = "kdsweep:owner"  # the process that trains, or trained, the trial
REASON = "kdsweep:reason"  # why it failed or was pruned
RETRY = "kdsweep:retry"  # how often its cell has been lost with its process
SPACE = "kdsweep:space"  # of the study: distributions and fixed configuration
FINAL = "kdsweep:final"  # a failure that would only repeat itself

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(
    *,
    name: str,
    storage: str,
    directions: Sequence[str],
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Create the study, or load it where there is one of that name.

    Raises:
        UserError: the storage can't be opened, or the study has other directions.
    """
    try:
        study = optuna.create_study(
            study_name=name,
            storage=open_storage(storage),
            sampler=sampler,
            pruner=pruner,
            directions=[StudyDirection[d.upper()] for d in directions],
            load_if_exists=True,
        )
    except ValueError as error:
        raise UserError(f"study={name}: {first_line(error)}") from error
    if [d.name.lower() for d in study.directions] != list(directions):
        raise UserError(
            f"study={name}: was made with directions "
            f"{[d.name.lower() for d in study.directions]}, not {list(directions)}; "
            "choose another name"
        )
    return study


@functools.lru_cache(maxsize=4)
def open_storage(url: str) -> optuna.storages.RDBStorage:
    """The database behind ``url``, created where it is a SQLite file that is not there.

    Raises:
        UserError: it can't be reached, read or written.
    """
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments: dict[str, Any] = {}
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        with store.writable(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        arguments["connect_args"] = {"timeout": 60}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise UserError(
            f"hydra.sweeper.storage={url}: {first_line(error)}; give sqlite:///FILE or "
            "postgresql+psycopg2://USER@HOST/DATABASE"
        ) from error
    except (SQLAlchemyError, OSError, RuntimeError, AssertionError) as error:
        raise UserError(
            f"hydra.sweeper.storage={url}: can't be opened ({first_line(error)})"
        ) from error


def study_name(given: str | None, swept: Sequence[str], content: Mapping[str, Any]) -> str:
    """The user's name, or one made from what is swept and from the rest of the configuration."""
    if given is not None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", given):
            raise UserError(f"study={given}: allowed are letters, digits and any of . _ + -")
        return given
    short = "-".join(key.rpartition(".")[2] for key in swept) or "single"
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', short)[:60]}-{store.digest(content)[:8]}"


def adopt(study: optuna.Study, content: Mapping[str, Any]) -> None:
    """Bind the study to one configuration: cells trained otherwise would not compare.

    Raises:
        UserError: the study was made with another configuration; names what differs.
    """
    text = json.dumps(content["fixed"], sort_keys=True)
    known = study.user_attrs.get(SPACE)
    if known is None:
        study.set_user_attr(SPACE, text)
        return
    if known != text:
        changed = sorted(_differences(json.loads(known), content["fixed"]))
        raise UserError(
            f"study={study.study_name}: was made with another configuration "
            f"({'; '.join(changed[:3])}); choose another study=NAME, or leave it out"
        )


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in old.keys() | new.keys():
            found += _differences(old.get(key), new.get(key), f"{prefix}.{key}".lstrip("."))
        return found
    return [] if old == new else [f"{prefix} was {old}, is {new}"]


def lost_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that dead processes of this host left RUNNING."""
    lost = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is not None and Owner.parse(owner).is_dead():
            lost.append(trial)
    return lost


def fail_lost(study: optuna.Study, trial: FrozenTrial, *, max_retries: int) -> bool:
    """Fail a trial whose process died and put its cell back; False if another process has."""
    if not _fail(study, trial, "its process died"):
        return False
    put_back(study, trial, max_retries=max_retries)
    return True


def put_back(study: optuna.Study, trial: FrozenTrial, *, max_retries: int) -> None:
    """Make a lost trial's cell WAITING again, unless it has been lost too often."""
    retry = int(trial.user_attrs.get(RETRY, 0)) + 1
    if retry > max_retries:
        log.warning("trial %d: lost %d times, given up", trial.number, retry)
        return
    study.enqueue_trial(trial.params or _fixed(trial), user_attrs={RETRY: retry})


def _fail(study: optuna.Study, trial: FrozenTrial, reason: str) -> bool:
    try:
        study._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
        study.tell(trial.number, state=TrialState.FAIL)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
        return False  # another process was faster
    return True


def enqueue_missing(study: optuna.Study, cells: Sequence[Mapping[str, Any]]) -> int:
    """Add the cells that the study does not hold as WAITING trials; how many are new.

    A cell is there if it waits, runs, is finished, or failed in a way that would repeat itself
    or has used up its retries.
    """
    there = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state != TrialState.FAIL or trial.user_attrs.get(FINAL):
            there.append(trial.params or _fixed(trial))
    new = [cell for cell in cells if not any(same_cell(cell, known) for known in there)]
    for cell in new:
        study.enqueue_trial(dict(cell))
    return len(new)


def same_cell(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two points are the same; 1 and 1.0 are."""
    return one.keys() == other.keys() and all(one[key] == other[key] for key in one)


def claim(study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> Trial | None:
    """Take one WAITING trial for this process; None when there is none left."""
    trial_id = study._pop_waiting_trial_id()
    if trial_id is None:
        return None
    trial = Trial(study, trial_id)
    take(trial)
    for name, distribution in distributions.items():
        trial._suggest(name, distribution)
    return trial


def ask(study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> Trial:
    """A new point from the sampler, or one that waits."""
    trial = study.ask()
    take(trial)
    for name, distribution in distributions.items():
        trial._suggest(name, distribution)
    return trial


def take(trial: Trial) -> None:
    """Mark the trial as this process's."""
    trial.set_user_attr(OWNER, str(this_process()))


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


def release(study: optuna.Study, trials: Sequence[Trial], reason: str) -> None:
    """Fail trials that this process gives up untrained, and put their cells back."""
    for trial in trials:
        frozen = study._storage.get_trial(trial._trial_id)
        if frozen.state.is_finished():
            continue
        if _fail(study, frozen, reason):
            study.enqueue_trial(frozen.params, user_attrs={RETRY: frozen.user_attrs.get(RETRY, 0)})


def _fixed(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.system_attrs.get("fixed_params", {}))


def count(study: optuna.Study, states: Sequence[TrialState] = FINISHED) -> int:
    """How many trials are in one of these states."""
    return len(study.get_trials(deepcopy=False, states=tuple(states)))


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
