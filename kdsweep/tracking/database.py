"""The SQLite file behind a local store: checked before MLflow opens it, and made in one piece.

MLflow retries a file that it can't open for 100 s, would add its tables to a foreign database,
and makes a new one by some seventy migrations of the file in place, which a second process or a
kill in the middle breaks. So the file is looked at with plain ``sqlite3`` first, and a new one is
made under another name and renamed when it is whole.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kdsweep.errors import UserError

_LOCATIONS = (  # where MLflow keeps absolute addresses of artefacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
LOCKED_S = 10.0  # how long another connection's lock is waited for


def check(database: Path, origin: str) -> bool:
    """Whether there is a usable MLflow database; False where there is none yet.

    Raises:
        UserError: The file is locked, can't be written, or is not an MLflow database.
    """
    if not database.exists() or database.stat().st_size == 0:
        return False
    try:
        with closing(sqlite3.connect(database, timeout=LOCKED_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
            connection.rollback()
    except sqlite3.Error as error:
        raise UserError(f"{origin}: {reason(str(error), database)}") from error
    if tables and not {"alembic_version", "experiments", "runs"} <= tables:
        raise UserError(
            f"{origin}: {database} is another program's database; choose another file for MLflow"
        )
    return bool(tables)


def create(database: Path, artifacts: Path) -> None:
    """Make MLflow's database, whole or not at all; the caller holds the store's lock."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = database.with_name(database.name + ".new")
    unfinished.unlink(missing_ok=True)  # of a process that was killed
    unfinished.touch()  # fails at once where MLflow would retry
    try:
        address = f"sqlite:///{unfinished.as_posix()}"
        make: Callable[[str, str], SqlAlchemyStore] = SqlAlchemyStore  # it has no types
        store = make(address, str(artifacts))
        store.engine.dispose()
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(database)
    finally:
        unfinished.unlink(missing_ok=True)


def relocate(database: Path, old: Path, new: Path) -> None:
    """Let everything that MLflow keeps under one folder be under another one.

    Args:
        database: MLflow's, whose lock the caller holds.
        old: an absolute folder, as the database has it.
        new: the folder that takes its place.
    """
    with closing(sqlite3.connect(database, timeout=LOCKED_S)) as connection, connection:
        for table, column in _LOCATIONS:
            for prefix in (str(old), old.as_uri()):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (str(new), len(prefix) + 1, prefix, len(prefix) + 1, f"{prefix}/"),
                )


def reach(uri: str) -> None:
    """Connect once to a database server, where MLflow would try for 100 s.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It does not answer or does not let us in.
        ModuleNotFoundError: The driver is not installed.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    engine.connect().close()
    engine.dispose()


def reason(message: str, database: Path | None) -> str:
    """What a SQLite error message means, and how to mend it, in one line."""
    what = str(database) if database else "the database"
    for symptom, meaning in (
        ("is locked", f"{what} is locked by another process: end it, or choose another folder"),
        ("disk is full", f"no space left for {what}: free some, or choose another folder"),
        ("disk I/O error", f"{what} can't be written (full or failing disk?)"),
        ("readonly", f"{what} is read-only: make it writable, or choose another folder"),
        ("unable to open", f"{what} can't be opened: make it writable, or choose another folder"),
        ("not a database", f"{what} is not a SQLite database: choose another file"),
        ("malformed", f"{what} is damaged: put a copy in its place, or choose another file"),
        (
            "out-of-date database schema",
            f"{what} has the schema of another MLflow version: if older, copy it and run `mlflow "
            f"db upgrade sqlite:///{what}`; if newer, upgrade MLflow or choose another folder",
        ),
    ):
        if symptom in message:
            return meaning
    return message.strip().partition("\n")[0]
