"""Opening a sweep's Optuna study: its name, its storage, and holding it."""

from __future__ import annotations

import contextlib
import difflib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection

from kdsweep.config.checks import study_name as check_name
from kdsweep.config.secrets import HIDDEN, hide_password_of, hide_passwords
from kdsweep.errors import UserError, first_line
from kdsweep.store import digest, writable

LOCK_SECONDS = 30  # how long a process waits for others to let SQLite's file go


def open_study(
    *,
    name: str,
    storage: optuna.storages.BaseStorage,
    directions: Sequence[str],
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Create the study, or load it where there is one of that name.

    Raises:
        UserError: the study has other directions.
    """
    try:
        study = optuna.create_study(
            study_name=name,
            storage=storage,
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


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """The database behind ``url``, created where it is a SQLite file that is not there.

    Raises:
        UserError: it can't be reached, read or written.
    """
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    shown = hide_passwords(url)
    if HIDDEN in url:
        raise UserError(f"storage={shown}: {HIDDEN} stands for its password; give that as well")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments: dict[str, Any] = {}
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        with writable(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        arguments["connect_args"] = {"timeout": LOCK_SECONDS}
    try:
        return _create_storage(url, arguments)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise UserError(
            f"storage={shown}: {hide_password_of(url, first_line(error))}; give sqlite:///FILE "
            "or postgresql+psycopg2://USER@HOST/DATABASE"
        ) from error
    except (SQLAlchemyError, OSError, RuntimeError, AssertionError) as error:
        reason = hide_password_of(url, first_line(error))
        mending = "end whatever holds it, move a damaged file away, or name another"
        if not url.startswith("sqlite"):
            mending = "start its server, or mend the address, user and password"
        raise UserError(f"storage={shown}: can't be opened ({reason}); {mending}") from error


def existing(storage: str) -> optuna.storages.RDBStorage:
    """The database, which is not made where there is none.

    Raises:
        UserError: there is none.
    """
    file = storage.removeprefix("sqlite:///")
    if file != storage and not Path(file).is_file():
        raise UserError(
            f"{hide_passwords(storage)}: no such database; give storage= or root=, or run a "
            "sweep first"
        )
    return open_storage(storage)


def list_studies(storage: str) -> list[str]:
    """A line for each study of the database: its name and how far it is."""
    database = existing(storage)
    lines = []
    for summary in optuna.get_all_study_summaries(database, include_best_trial=True):
        best = summary.best_trial if len(summary.directions) == 1 else None
        shown = "" if best is None or best.value is None else f", best {best.value:.2f}"
        lines.append(f"{summary.study_name}: {summary.n_trials} trials{shown}")
    return lines or ["no study yet"]


def load_study(name: str, storage: str) -> optuna.Study:
    """The study of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    database = existing(storage)
    names = optuna.get_all_study_names(database)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(
            f"study={name}: not in {hide_passwords(storage)}{hint}; python -m kdsweep.export "
            "lists them"
        )
    return optuna.load_study(study_name=name, storage=database)


def study_name(given: str | None, swept: Sequence[str], content: Mapping[str, Any]) -> str:
    """The user's name, or one made from what is swept and from the rest of the configuration."""
    if given is not None:
        check_name(given)
        return given
    short = "-".join(key.rpartition(".")[2] for key in swept) or "single"
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', short)[:60]}-{digest(content)[:8]}"


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
def exclusive(storage: optuna.storages.RDBStorage, name: str) -> Iterator[None]:
    """Hold the study: its other processes wait. A process that dies lets go.

    A lock beside the file of SQLite, an advisory lock of PostgreSQL; other databases have none,
    and rely on their row locks.
    """
    engine = storage.engine
    if engine.dialect.name == "sqlite" and engine.url.database:
        import filelock

        file = Path(engine.url.database).absolute()
        with filelock.FileLock(file.with_name(f".{file.name}.{name}.lock")):
            yield
    elif engine.dialect.name == "postgresql":
        from sqlalchemy import text

        key = {"key": int(digest(name)[:15], 16)}
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
    else:
        yield
