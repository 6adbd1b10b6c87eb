"""Opens a store with MLflow, quietly, and tells in one line why that can't be done."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kdsweep.config.secrets import hide_password_of, hide_passwords
from kdsweep.errors import KdsweepError, UserError
from kdsweep.tracking import database, failures
from kdsweep.tracking.store import ARTIFACTS, Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_S = 300.0  # how long another process's set-up of the same store is waited for
SERVER_S = 10  # for a server's first answer
KIND = "custom_model_development"  # so that MLflow's UI shows runs and not prompts

_environment = threading.RLock()  # held while the environment is other than the user's
_log = logging.getLogger(__name__)


def quieten() -> None:
    """Keep MLflow from sending telemetry and from printing; to be called before its import.

    What a user has set in the environment stays as it is.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # It prints a traceback of each error that it also raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@contextmanager
def reraised(store: Store, doing: str) -> Iterator[None]:
    """Turn whatever a store raises into an error of our own, in one line.

    Raises:
        StoreAway: another try may succeed.
        RecordRefused: it would not.
    """
    try:
        yield
    except KdsweepError:
        raise
    except Exception as cause:
        raise failures.failure(cause, store, doing) from cause


@contextmanager
def refused(store: Store) -> Iterator[None]:
    """Turn whatever a store raises before any training into the user's one line."""
    try:
        yield
    except KdsweepError:
        raise
    except Exception as cause:
        reason = hide_password_of(store.uri, failures.brief(cause, store.database))
        if store.database is None and store.artifacts is None:
            reason = (
                f"nothing there answers as an MLflow server does ({reason}); start it, mend the "
                "address, or use tracking=local"
            )
        raise UserError(f"{store.origin}: {reason}") from cause


@contextmanager
def locked(
    store: Store, *, wait: float | None = None, error: type[KdsweepError] = UserError
) -> Iterator[None]:
    """Hold the store's lock, which one process of this root has at a time.

    Args:
        store: whose lock.
        wait: s for another process, ``LOCK_S`` where it is None; then ``error`` is raised.
        error: of ours.
    """
    from filelock import FileLock, Timeout

    wait = LOCK_S if wait is None else wait
    store.lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(store.lock, timeout=wait):
            yield
    except Timeout as timeout:
        raise error(
            f"{store.origin}: another process has been holding {store.lock} for {wait:.0f} s; "
            "end it, or choose another folder"
        ) from timeout


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment that MLflow reads as it goes, within this block alone.

    What is there comes back at the end, and one thread at a time is inside.
    """
    with _environment:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def http_limit(seconds: int) -> AbstractContextManager[None]:
    """Let MLflow's HTTP client ask once, for so long, within this block alone."""
    return environment(
        {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        }
    )


def connect(store: Store) -> tuple[MlflowClient, str]:
    """Open the store for writing and return MLflow's client with the experiment's id.

    Makes what is missing: the folder, the SQLite file, the experiment with its own absolute
    folder of artefacts.

    Raises:
        UserError: The store can't be created, reached or written.
    """
    with refused(store):
        _reach(store)
    with refused(store), locked(store), warnings.catch_warnings():
        # MLflow's own, of options that SQLAlchemy means to drop.
        warnings.simplefilter("ignore", DeprecationWarning)
        if store.database is not None and not database.check(store.database, store.origin):
            _write_something(store.database.parent)
            quieten()
            assert store.artifacts is not None
            database.create(store.database, store.artifacts)
        quieten()
        from mlflow import MlflowClient
        from mlflow.tracking._tracking_service import utils

        utils._artifact_repos_cache.clear()  # by run id alone, which a copied store has as well
        with http_limit(SERVER_S):
            client = MlflowClient(store.uri, store.uri)
            experiment_id, files = _experiment(client, store)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            client.set_experiment_tag(experiment_id, "kdsweep.opened", now)  # proves it writable
        if files is not None:
            _write_something(files)
    _log.info(
        "Runs go to %s (chosen by %s), experiment %s",
        hide_passwords(store.uri),
        store.origin.partition("=")[0],
        store.experiment,
    )
    return client, experiment_id


def _reach(store: Store) -> None:
    """Ask a server once, before anything is written here."""
    if store.database is not None:
        return
    if store.artifacts is not None:
        database.reach(store.uri)
        return
    quieten()
    from mlflow import MlflowClient

    with http_limit(SERVER_S):
        MlflowClient(store.uri, store.uri).get_experiment_by_name(store.experiment)


def _experiment(client: MlflowClient, store: Store) -> tuple[str, Path | None]:
    """The experiment's id and, where it is on this machine, its folder of artefacts."""
    experiment = client.get_experiment_by_name(store.experiment)
    if experiment is None:
        location = None if store.artifacts is None else str(store.artifacts)
        try:
            client.create_experiment(
                store.experiment, artifact_location=location, tags={"mlflow.experimentKind": KIND}
            )
        except Exception:  # another host may have been faster
            if client.get_experiment_by_name(store.experiment) is None:
                raise
        experiment = client.get_experiment_by_name(store.experiment)
        assert experiment is not None
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"tracking.experiment={store.experiment}: it was deleted in MLflow; choose another "
            f"name, or restore it (`mlflow experiments restore -x {experiment.experiment_id}`)"
        )
    files = _local_path(experiment.artifact_location)
    if files is not None and _is_moved(store, files, experiment.tags):
        assert store.database is not None
        assert store.artifacts is not None
        _log.info("Artefacts were in %s and are in %s", files, store.artifacts)
        database.relocate(store.database, files, store.artifacts)
        files = store.artifacts
    if files is not None and store.artifacts not in (None, files):
        _log.warning(
            "Artefacts go to %s, where experiment %s was made to keep them",
            files,
            store.experiment,
        )
    return experiment.experiment_id, files


def _is_moved(store: Store, files: Path, tags: Mapping[str, str]) -> bool:
    """Whether the database is a copy, or was moved: its artefacts were beside it, and are not.

    An experiment that somebody else made keeps its files where it was made to, and so does one
    whose database is the same file by another path.
    """
    if store.database is None or files == store.artifacts or files.name != ARTIFACTS:
        return False
    beside = files.with_name(store.database.name)
    same = beside.exists() and beside.samefile(store.database)
    return tags.get("mlflow.experimentKind") == KIND and not same


def _local_path(location: str) -> Path | None:
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme else Path(location)


def _write_something(folder: Path) -> None:
    """Prove that a folder can be written and its disk is not full.

    Raises:
        OSError: It can't, or it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 65536)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # of a full disk, which names no file
        raise OSError(error.errno, error.strerror, str(folder)) from error
