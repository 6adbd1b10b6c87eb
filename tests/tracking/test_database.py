from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kdsweep.errors import UserError
from kdsweep.tracking import database
from kdsweep.tracking.store import Store


def test_a_file_that_is_missing_or_empty_is_to_be_made(tmp_path: Path) -> None:
    assert not database.check(tmp_path / "mlflow.db", "root=x")
    (tmp_path / "mlflow.db").touch()
    assert not database.check(tmp_path / "mlflow.db", "root=x")


def test_mlflows_database_is_usable(store: Store) -> None:
    assert store.database is not None
    assert database.check(store.database, store.origin)


@pytest.mark.usefixtures("hasty")
def test_a_locked_database(store: Store) -> None:
    assert store.database is not None
    with closing(sqlite3.connect(store.database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"^root=.*mlflow\.db is locked by another process"):
            database.check(store.database, store.origin)
        other.rollback()
    assert database.check(store.database, store.origin)


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE studies (id INTEGER)")
        other.execute("CREATE TABLE alembic_version (version_num TEXT)")
    before = path.read_bytes()
    with pytest.raises(UserError, match="another program's database"):
        database.check(path, "tracking.uri=x")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("not a database, and long enough to be read as one " * 40)
    with pytest.raises(UserError, match="is not a SQLite database"):
        database.check(path, "root=x")


def test_a_creation_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.store.db.utils

    def half(engine: object) -> None:
        assert (tmp_path / "mlflow.db.new").exists()
        raise OSError("killed in the middle")

    monkeypatch.setattr(mlflow.store.db.utils, "_initialize_tables", half)
    (tmp_path / "mlflow.db.new").write_text("of an earlier process that was killed")
    with pytest.raises(OSError, match="killed in the middle"):
        database.create(tmp_path / "mlflow.db", tmp_path / "artifacts")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("(sqlite3.OperationalError) database is locked\n[SQL: x]", "/m.db is locked by another"),
        ("(sqlite3.OperationalError) database or disk is full", "no space left for /m.db"),
        ("attempt to write a readonly database", "/m.db is read-only"),
        ("something new\nin two lines", "something new"),
    ],
)
def test_reasons_are_one_line(message: str, meaning: str) -> None:
    told = database.reason(message, Path("/m.db"))
    assert told.startswith(meaning)
    assert "\n" not in told
