"""Databases that are locked, full, damaged, read-only or gone: one line names file and cause."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from safetensors import SafetensorError
from sqlalchemy import create_engine

from kdsweep.errors import KdsweepError, TrainingError, UserError
from kdsweep.sweeper.explain import explain, explain_storage_error, naming
from kdsweep.sweeper.opening import open_storage


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A study's database with one trial."""
    file = tmp_path / "optuna.db"
    study = optuna.create_study(study_name="s", storage=f"sqlite:///{file}")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    storage = study._storage
    assert isinstance(storage, optuna.storages._CachedStorage)
    storage._backend.engine.dispose()
    return file


def write(storage: optuna.storages.RDBStorage) -> None:
    storage.set_study_user_attr(storage.get_study_id_from_name("s"), "key", "x" * 100)


def opened(file: Path, *, query: str = "", pragma: str = "") -> optuna.storages.RDBStorage:
    url = f"sqlite:///{file}{query}"
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 0}})
    if pragma:
        from sqlalchemy import event

        @event.listens_for(storage.engine, "connect")
        def _(connection: sqlite3.Connection, _: object) -> None:
            connection.execute(f"PRAGMA {pragma}")

        storage.engine.dispose()
    return storage


def line_of(file: Path, broken: Callable[[], None], kind: type[KdsweepError]) -> str:
    url = f"sqlite:///{file}"
    with pytest.raises(kind) as caught, naming(url):
        broken()
    line = str(caught.value)
    assert line.startswith(f"storage={url}: ")
    assert "\n" not in line
    assert len(line) < 300
    return line


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
)
def test_a_full_disk_without_a_files_name(error: Exception) -> None:
    line, status = explain(error)
    assert line.startswith("the disk is full: free some space, and the same command goes on")
    assert status == 1


def test_an_error_of_a_weights_file_is_no_full_disk() -> None:
    assert explain(SafetensorError("header too large"))[0].startswith("unexpected Safetensor")


def test_a_locked_database(database: Path) -> None:
    storage = opened(database)
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        line = line_of(database, lambda: write(storage), TrainingError)
    assert f"{database} is locked by another process" in line
    assert line.endswith("the same command continues the study")


def test_a_full_disk(database: Path) -> None:
    storage = opened(database, pragma="max_page_count = 1")

    def fill() -> None:
        for i in range(100):
            storage.set_study_user_attr(1, f"key{i}", "x" * 2000)

    line = line_of(database, fill, TrainingError)
    assert f"no space left for {database}: free some" in line


def test_a_database_that_is_read_only(database: Path) -> None:
    storage = opened(database, pragma="query_only = 1")
    line = line_of(database, lambda: write(storage), UserError)
    assert f"{database} is read-only: make it writable" in line


def test_a_damaged_database(database: Path) -> None:
    pages = bytearray(database.read_bytes())
    pages[4096:] = b"\x7f" * (len(pages) - 4096)  # the schema is on the first page
    database.write_bytes(bytes(pages))
    line = line_of(database, lambda: write(opened(database)), UserError)
    assert f"{database} is damaged: put a copy in its place" in line


def test_a_file_that_is_no_database(database: Path) -> None:
    database.write_bytes(b"no database at all, of more bytes than a header has" * 100)
    line = line_of(database, lambda: write(opened(database)), UserError)
    assert f"{database} is not a SQLite database" in line


def test_a_database_that_was_removed(database: Path) -> None:
    storage = opened(database)
    storage.engine.dispose()
    database.unlink()
    line = line_of(database, lambda: write(storage), UserError)  # SQLite makes an empty one
    assert f"{database} holds no study any more" in line


def test_a_folder_that_was_removed(database: Path) -> None:
    storage = opened(database)
    storage.engine.dispose()
    database.unlink()
    database.parent.rmdir()
    line = line_of(database, lambda: write(storage), UserError)
    assert f"{database} is gone" in line


def test_what_is_no_fault_of_a_database_is_left_as_it_is() -> None:
    assert explain_storage_error(ValueError("is locked"), "sqlite:///a.db") is None
    with pytest.raises(ZeroDivisionError), naming("sqlite:///a.db"):
        raise ZeroDivisionError
    with pytest.raises(UserError, match=r"^mine$"), naming("sqlite:///a.db"):
        raise UserError("mine")


def test_no_password_is_shown() -> None:
    url = "postgresql://me:secret@nowhere.invalid:1/a"
    error = sqlite3.OperationalError("database is locked")
    assert "secret" not in str(explain_storage_error(error, url))
    line, _ = explain(UserError(f"storage={url}: can't be opened"))
    assert "secret" not in line
    assert "postgresql://me:***@nowhere.invalid" in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://me:top@secret@nowhere.invalid:1/a",
        "postgresql+psycopg2://me:secret@127.0.0.1:1/a",
        "postgresql+psycopg2://me:secret@127.0.0.1:x/a",
        "nothing+here://me:secret@host/a",
        "postgresql+psycopg2://me@127.0.0.1:1/a?password=secret",
    ],
)
def test_a_database_that_cannot_be_opened_shows_no_password(url: str) -> None:
    with pytest.raises(UserError, match=r"^storage=.*\*\*\*") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_a_password_that_is_hidden_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"^storage=.*: \*\*\* stands for its password; give"):
        open_storage("postgresql+psycopg2://me:***@127.0.0.1:1/a")


def test_an_unknown_database_is_not_named(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/none/a.db")
    with pytest.raises(Exception, match="unable to open") as caught:
        engine.connect()
    assert explain(caught.value) == (
        "the study's database: the database can't be opened: make it writable, or choose another "
        "folder",
        2,
    )


def test_a_file_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "none").read_text()
    line, status = explain(caught.value)
    assert (line.partition(":")[0], status) == (f"{tmp_path}/none", 2)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("Unknown plugin class : 'os.system'"), "os.system: is no sweeper"),
        (ValueError("Unable to configure handler 'evil' Target"), "hydra.job_logging, h"),
        (ValueError("Only one of --run, --cfg can be specified"), "Only one of --run, --cfg is"),
    ],
)  # fmt: skip
def test_what_hydra_has_no_words_for(error: Exception, line: str) -> None:
    said, status = explain(error)
    assert said.startswith(line)
    assert status == 2
