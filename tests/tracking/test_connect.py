from __future__ import annotations

import errno
import http.server
import logging
import os
import resource
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from filelock import FileLock

from kdsweep.config import TrackingConfig
from kdsweep.errors import UserError
from kdsweep.tracking import Tracker, connect, create_tracker
from kdsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextmanager
def full_disk(limit: int = 16384) -> Iterator[None]:
    """No file of this process grows beyond ``limit`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def web_server(answer: bytes) -> Iterator[str]:
    """A server that speaks HTTP and not MLflow."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refusal(config: TrackingConfig, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        create_tracker(config, root=root).prepare()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_where_the_root_should_be(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("")
    line = refusal(TrackingConfig(), tmp_path / "mlruns")
    assert line.startswith(f"root={tmp_path}/mlruns: ")
    assert line.endswith("choose a folder that can be written")


def test_a_root_that_cannot_be_made() -> None:
    line = refusal(TrackingConfig(), Path("/proc/kdsweep"))
    assert line.startswith("root=/proc/kdsweep: /proc/kdsweep: ")
    assert line.endswith("choose a folder that can be written")


def test_a_folder_without_permission(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(lock: FileLock, *_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), lock.lock_file)

    monkeypatch.setattr(FileLock, "acquire", acquire)  # root may write everywhere
    line = refusal(TrackingConfig(), root)
    assert line.endswith("mlflow.db.lock: Permission denied; choose a folder that can be written")


def test_a_file_where_the_artefacts_should_be(root: Path) -> None:
    (root / "artifacts").write_text("")
    line = refusal(TrackingConfig(), root)
    assert line.startswith(f"root={root}: {root}/artifacts: ")


def test_a_full_disk_before_the_store_is_made(tmp_path: Path) -> None:
    with full_disk():
        line = refusal(TrackingConfig(), tmp_path / "mlruns")
    assert line.endswith("choose a folder that can be written")
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == ["mlflow.db.lock"]


def test_a_full_disk_under_an_existing_store(root: Path) -> None:
    with full_disk():
        line = refusal(TrackingConfig(), root)
    assert str(root) in line


@pytest.mark.usefixtures("hasty")
def test_a_locked_store(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is locked by another process" in refusal(TrackingConfig(), root)
        other.rollback()


def test_a_store_of_another_mlflow(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as other, other:
        other.execute("UPDATE alembic_version SET version_num = 'of the future'")
    line = refusal(TrackingConfig(), root)
    assert "has the schema of another MLflow version" in line


def test_a_store_that_is_being_set_up_for_ever(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "LOCK_S", 0.1)
    with connect.locked(store):
        assert f"holding {root}/mlflow.db.lock" in refusal(TrackingConfig(), root)


def test_a_deleted_experiment(root: Path, tracker: Tracker) -> None:
    tracker.prepare()
    from mlflow import MlflowClient

    client = MlflowClient(tracker.uri, tracker.uri)
    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    line = refusal(TrackingConfig(), root)
    assert line.startswith("tracking.experiment=kdsweep: it was deleted")


def test_the_store_is_named_in_the_log(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kdsweep"):
        create_tracker(TrackingConfig(), root=root).prepare()
    assert [record.message for record in caplog.records] == [
        f"Runs go to sqlite:///{root}/mlflow.db (chosen by root), experiment kdsweep"
    ]


def test_a_copied_root_reads_and_writes_its_own_artefacts(
    root: Path, tmp_path: Path, tracker: Tracker
) -> None:
    run = tracker.open_run("a", parent=None, params={}, tags={})
    tracker.log_text(run, "first", "first.txt")
    tracker.close(run, "finished")
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    before = {path: path.stat().st_mtime_ns for path in sorted(root.rglob("*"))}
    other = create_tracker(TrackingConfig(), root=copy)
    later = other.open_run("b", parent=None, params={}, tags={})
    for each in (run, later):
        other.log_text(each, "second", "second.txt")
    other.close(later, "finished")
    other.flush()
    assert before == {path: path.stat().st_mtime_ns for path in sorted(root.rglob("*"))}
    from mlflow import MlflowClient

    client = MlflowClient(other.uri, other.uri)
    assert sorted(file.path for file in client.list_artifacts(run)) == ["first.txt", "second.txt"]
    for each in (run, later):
        assert (copy / "artifacts" / each / "artifacts" / "second.txt").read_text() == "second"


def test_a_root_by_another_path_is_no_copy(root: Path, tmp_path: Path, tracker: Tracker) -> None:
    tracker.prepare()
    (tmp_path / "link").symlink_to(root)
    create_tracker(TrackingConfig(), root=tmp_path / "link").prepare()
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        found = database.execute(
            "SELECT artifact_location FROM experiments WHERE name = 'kdsweep'"
        ).fetchall()
    assert found == [(f"{root}/artifacts",)]


def test_an_experiment_of_the_users_own_keeps_its_files_where_they_are(
    root: Path, tmp_path: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "elsewhere" / "artifacts"
    client.create_experiment("own", artifact_location=str(elsewhere))
    tracker = create_tracker(TrackingConfig(experiment="own"), root=root)
    run = tracker.open_run("a", parent=None, params={}, tags={})
    tracker.log_text(run, "text", "file.txt")
    tracker.close(run, "finished")
    assert (elsewhere / run / "artifacts" / "file.txt").is_file()
    assert f"Artefacts go to {elsewhere}" in caplog.text


def test_preparing_twice_keeps_the_store(root: Path, tracker: Tracker) -> None:
    tracker.prepare()
    run = tracker.open_run("a", parent=None, params={}, tags={"kdsweep.study": "s"})
    tracker.prepare()
    create_tracker(TrackingConfig(), root=root).prepare()
    assert [record.run_id for record in tracker.runs_of("s")] == [run]


def test_nothing_is_written_to_the_working_directory(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    tracker = create_tracker(TrackingConfig(), root=root)
    run = tracker.open_run("a", parent=None, params={}, tags={})
    tracker.log_text(run, "text", "file.txt")
    tracker.close(run, "finished")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_missing_database_driver(tmp_path: Path) -> None:
    line = refusal(TrackingConfig(uri="postgresql+nodriver://u:secret@h/d"), tmp_path)
    assert line.startswith("tracking.uri=postgresql+nodriver://u:***@h/d: ")


def test_what_a_driver_takes_for_a_port_may_be_of_the_password(tmp_path: Path) -> None:
    line = refusal(TrackingConfig(uri="postgresql+psycopg2://u:top@x:1secret@h/d"), tmp_path)
    assert line.startswith("tracking.uri=postgresql+psycopg2://u:***@h/d: ")
    assert "secret" not in line


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        line = refusal(TrackingConfig(backend="server", uri=uri), tmp_path)
    assert line.startswith(f"tracking.uri={uri}: nothing there answers")
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "SERVER_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = refusal(TrackingConfig(backend="server", uri=uri), tmp_path)
    assert line.startswith(f"tracking.uri={uri}: nothing there answers")


def test_a_server_of_something_else(tmp_path: Path) -> None:
    with web_server(b"<html>a printer</html>") as uri:
        line = refusal(TrackingConfig(backend="server", uri=uri), tmp_path)
    assert line.startswith(f"tracking.uri={uri}: nothing there answers")
    assert "404" in line
