"""The Optuna study of a sweep: opened, named, claimed from and told.

Trials are claimed, not asked for, where the cells are known (an exact grid, enqueued points):
they are added as WAITING, and a process takes one while it holds the study (``exclusive``), so
several processes on one study never train the same cell. The storage alone does not see to that:
on SQLite, Optuna reads a trial's state and writes it in two steps.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep import store
from kdsweep.config.checks import study_name as check_name
from kdsweep.errors import UserError
from kdsweep.tracking.owner import Owner, this_process

log = logging.getLogger(__name__)

OWNER = "kdsweep:owner"  # the process that trains, or trained, the trial
LOCK_SECONDS = 30  # how long a process waits for others to let SQLite's file go
REASON = "kdsweep:reason"  # why it failed or was pruned
RETRY = "kdsweep:retry"  # how often its cell has been lost with its process
SPACE = "kdsweep:space"  # of the study: its fixed configuration
AXES = "kdsweep:axes"  # of the study: its distributions
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
        arguments["connect_args"] = {"timeout": LOCK_SECONDS}
    try:
        return _create_storage(url, arguments)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise UserError(
            f"storage={url}: {first_line(error)}; give sqlite:///FILE or "
            "postgresql+psycopg2://USER@HOST/DATABASE"
        ) from error
    except (SQLAlchemyError, OSError, RuntimeError, AssertionError) as error:
        raise UserError(
            f"storage={url}: can't be opened ({first_line(error)}); end whatever holds it, move "
            "a damaged file away, or name another"
        ) from error


def study_name(given: str | None, swept: Sequence[str], content: Mapping[str, Any]) -> str:
    """The user's name, or one made from what is swept and from the rest of the configuration."""
    if given is not None:
        check_name(given)
        return given
    short = "-".join(key.rpartition(".")[2] for key in swept) or "single"
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', short)[:60]}-{store.digest(content)[:8]}"


def _create_storage(url: str, arguments: dict[str, Any]) -> optuna.storages.RDBStorage:
    """Processes that start at once all create the tables; the later ones then find them."""
    from sqlalchemy.exc import DBAPIError

    for _ in range(20):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
        except DBAPIError as error:
            if not re.search("already exists|duplicate|UNIQUE", str(error)):
                raise
            time.sleep(0.2)
    return optuna.storages.RDBStorage(url, engine_kwargs=arguments)


@contextlib.contextmanager
def exclusive(study: optuna.Study) -> Iterator[None]:
    """Hold the study: its other processes wait. A process that dies lets go.

    A lock beside the file of SQLite, an advisory lock of PostgreSQL; other databases have none,
    and rely on their row locks.
    """
    storage: Any = study._storage
    engine = getattr(storage, "_backend", storage).engine
    if engine.dialect.name == "sqlite" and engine.url.database:
        import filelock

        file = Path(engine.url.database).absolute()
        with filelock.FileLock(file.with_name(f".{file.name}.{study.study_name}.lock")):
            yield
    elif engine.dialect.name == "postgresql":
        from sqlalchemy import text

        key = {"key": int(store.digest(study.study_name)[:15], 16)}
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
    else:
        yield


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


def adopt_axes(study: optuna.Study, axes: Mapping[str, BaseDistribution]) -> None:
    """Bind the study to its choices: Optuna can't change those of an axis later.

    Raises:
        UserError: the study was made with other choices; names the first.
    """
    text = json.dumps({key: distribution_to_json(axis) for key, axis in axes.items()})
    known = study.user_attrs.get(AXES)
    if known is None:
        study.set_user_attr(AXES, text)
        return
    for key, old in json.loads(known).items():
        try:
            check_distribution_compatibility(json_to_distribution(old), axes[key])
        except (ValueError, KeyError):
            raise UserError(
                f"study={study.study_name}: was made with other choices for {key} "
                f"({_choices(json_to_distribution(old))}); a study can't be widened: choose "
                "another study=NAME, or leave it out"
            ) from None


def _choices(axis: BaseDistribution) -> str:
    if isinstance(axis, CategoricalDistribution):
        return ",".join(map(str, axis.choices))
    return str(axis)


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


def enqueue_missing(study: optuna.Study, cells: Sequence[Mapping[str, Any]]) -> int:
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
            study.enqueue_trial(dict(cell))
            new += 1
    return new


def same_cell(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two points are the same; 1 and 1.0 are."""
    return one.keys() == other.keys() and all(one[key] == other[key] for key in one)


def claim(study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> Trial | None:
    """Take one WAITING trial for this process, which holds the study; None when none is left."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if not waiting:
        return None
    chosen = waiting[0]._trial_id
    # The owner first: a trial that runs always has one, or nobody could tell that it is lost.
    study._storage.set_trial_user_attr(chosen, OWNER, str(this_process()))
    study._storage.set_trial_state_values(chosen, state=TrialState.RUNNING)
    study._thread_local.cached_all_trials = None  # as Study.ask does
    trial = Trial(study, chosen)
    for name, distribution in distributions.items():
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


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
