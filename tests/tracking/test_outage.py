"""A server that goes away while runs are open: nothing fails, nothing is lost or doubled."""

from __future__ import annotations

import base64
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from kdsweep.config import TrackingConfig
from kdsweep.errors import UserError
from kdsweep.tracking import Tracker, TrackingError, connection, create_tracker, writer
from kdsweep.tracking.outbox import FOLDER
from tests.tracking.server import MlflowServer, serving

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@pytest.fixture
def server(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    with serving(tmp_path / "of-server", root / "mlflow.db", monkeypatch) as server:
        yield server
    assert "MLFLOW_TRACKING_URI" not in os.environ


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The root of the session, which the server does not share."""
    return tmp_path / "here"


@pytest.fixture
def tracker(server: MlflowServer, here: Path) -> Iterator[Tracker]:
    tracker = session(server, here)
    yield tracker
    server.stop()
    tracker.shutdown()


def session(server: MlflowServer, root: Path, *, patience: float = 0.0) -> Tracker:
    config = TrackingConfig(backend="server", uri=server.uri, patience=patience)
    tracker = create_tracker(config, root=root)
    tracker.prepare()
    return tracker


def mlflow(server: MlflowServer) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(server.uri, server.uri)


def by_name(server: MlflowServer) -> dict[str, Run]:
    """Every run; names are of one run only."""
    client = mlflow(server)
    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == len(names)
    return dict(zip(names, runs, strict=True))


def curve(server: MlflowServer, run: Run) -> list[tuple[int, float]]:
    history = mlflow(server).get_metric_history(run.info.run_id, "loss")
    return [(m.step, m.value) for m in history]


def train(tracker: Tracker, run: str, epochs: range) -> None:
    for epoch in epochs:
        tracker.log_epoch(run, {"loss": float(epoch)}, epoch=epoch)


def finish(tracker: Tracker, run: str, folder: Path) -> None:
    """What is logged when a trial has been trained."""
    weights = folder / "student.safetensors"
    weights.write_bytes(b"123")
    tracker.log_metrics(run, {"val_accuracy": 90.0}, step=3)
    tracker.log_file(run, weights, "checkpoint")
    weights.unlink()
    tracker.close(run, "finished")


def story(tracker: Tracker, server: MlflowServer, folder: Path) -> None:
    """A sweep whose server goes away in the middle of the first trial and before the second."""
    sweep = tracker.open_sweep("s", params={"cells": 2}, tags={})
    first = tracker.open_run("first", parent=sweep, params={"T": 1}, tags={})
    train(tracker, first, range(1, 3))
    tracker.flush()
    server.stop()
    train(tracker, first, range(3, 5))
    finish(tracker, first, folder)
    second = tracker.open_run("second", parent=sweep, params={"T": 2}, tags={})
    tracker.log_text(second, "seed: 0\n", "config.yaml")
    train(tracker, second, range(1, 4))
    seed = tracker.open_run("seed 0 of second", parent=second, params={}, tags={})
    tracker.close(seed, "pruned", reason="too bad")
    finish(tracker, second, folder)
    assert tracker.open_sweep("s", params={}, tags={}) == sweep
    tracker.log_metrics(sweep, {"trials": 2.0})
    tracker.close(sweep, "finished")


def check(server: MlflowServer, folder: Path) -> None:
    """All of the story is in the store, once, with the times at which it happened."""
    client, runs = mlflow(server), by_name(server)
    assert runs.keys() == {"s", "first", "second", "seed 0 of second"}
    assert {run.info.status for name, run in runs.items() if "seed" not in name} == {"FINISHED"}
    assert runs["seed 0 of second"].info.status == "KILLED"
    assert runs["seed 0 of second"].data.tags["kdsweep.reason"] == "too bad"
    assert curve(server, runs["first"]) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert curve(server, runs["second"]) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert runs["second"].data.params == {"T": "2"}
    assert runs["s"].data.metrics == {"trials": 2.0}
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert parents == {
        "s": None,
        "first": runs["s"].info.run_id,
        "second": runs["s"].info.run_id,
        "seed 0 of second": runs["second"].info.run_id,
    }
    for name, run in runs.items():
        assert run.data.tags["kdsweep.study"] == "s"
        assert run.info.end_time >= run.info.start_time
        if name in ("first", "second"):
            read = client.download_artifacts(run.info.run_id, "checkpoint/student.safetensors")
            assert Path(read).read_bytes() == b"123"
    read = client.download_artifacts(runs["second"].info.run_id, "config.yaml")
    assert Path(read).read_text() == "seed: 0\n"
    outbox = folder / FOLDER
    assert not outbox.exists() or list(outbox.iterdir()) == []


def test_a_server_that_comes_back_gets_everything_once(
    tracker: Tracker,
    server: MlflowServer,
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.05)
    caplog.set_level(logging.INFO, "kdsweep")
    story(tracker, server, tmp_path)
    assert list((here / FOLDER).glob("*.jsonl"))
    server.start()
    deadline = time.monotonic() + 60
    while list((here / FOLDER).iterdir()):  # by itself, in the background
        assert time.monotonic() < deadline
        time.sleep(0.05)
    check(server, here)
    run = by_name(server)["second"].info.run_id
    assert tracker.compare_url([run]).count(run) == 1
    lines = [line for line in caplog.messages if not line.startswith("Runs go to")]
    assert lines == [lines[0], "The tracking store is back and has all records"]
    assert re.fullmatch(
        rf"tracking\.uri={server.uri}: .* of run \w+: (connection refused|it hung up); "
        "training goes on, and records wait under root",
        lines[0],
    )


def test_a_server_that_stays_away_gets_everything_in_the_next_session(
    tracker: Tracker,
    server: MlflowServer,
    here: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = time.monotonic()
    story(tracker, server, tmp_path)
    tracker.shutdown()
    assert time.monotonic() - began < 30, "no waiting for a server that is away"
    (journal,) = (here / FOLDER).glob("*.jsonl")
    assert caplog.messages[-1].endswith(
        f"wait in {journal}; the next session with this root and store delivers them"
    )
    server.start()
    caplog.set_level(logging.INFO, "kdsweep")
    session(server, here)
    check(server, here)
    assert caplog.messages[-1].endswith("of an earlier session are delivered")


def test_the_end_waits_for_a_server_that_is_about_to_return(
    server: MlflowServer, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = session(server, here, patience=60)
    story(tracker, server, tmp_path)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            server.start()

    with monkeypatch.context() as impatient:
        impatient.setattr(writer.time, "sleep", sleep)
        tracker.shutdown()
    assert len(pauses) >= 2
    assert by_name(server).keys() == {"s", "first", "second", "seed 0 of second"}
    assert list((here / FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    ("request_to", "number"),
    [
        ("runs/create", 0),  # of the sweep
        ("runs/create", 1),
        ("runs/create", 2),
        ("runs/log-batch", 0),
        ("runs/log-batch", 3),
        ("runs/update", 0),
        ("runs/update", 2),
        ("student.safetensors", 0),
    ],
)
def test_an_answer_that_is_lost_doubles_nothing(
    server: MlflowServer,
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_to: str,
    number: int,
) -> None:
    """That request is carried out, and its answer is lost."""
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    tracker = session(server, here, patience=60)
    count = 0

    def after(path: str) -> None:
        nonlocal count
        if path.endswith(request_to):
            count += 1
            if count == number + 1:
                raise ConnectionError

    server.after = after
    sweep = tracker.open_sweep("s", params={"cells": 2}, tags={})
    run = tracker.open_run("first", parent=sweep, params={"T": 1}, tags={})
    again = tracker.open_unique(
        "baseline", unique="kdsweep.key", parent=sweep, params={}, tags={"kdsweep.key": "k"}
    )
    assert again is not None
    train(tracker, run, range(1, 5))
    for each in (run, again):
        finish(tracker, each, tmp_path)
    tracker.close(sweep, "finished")
    tracker.shutdown()
    assert count > number, "it was lost"
    runs = by_name(server)
    assert runs.keys() == {"s", "first", "baseline"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert curve(server, runs["first"]) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


KILLED = """
import os, signal, sys
from pathlib import Path
from kdsweep.config import TrackingConfig
from kdsweep.tracking import create_tracker

config = TrackingConfig(backend="server", uri=sys.argv[1])
tracker = create_tracker(config, root=Path(sys.argv[2]))
run = tracker.open_run("first", parent=None, params={"T": 1}, tags={})
print("open", flush=True)
input()
for epoch in (1, 2, 3):
    tracker.log_epoch(run, {"loss": float(epoch)}, epoch=epoch)
tracker.close(run, "finished")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_session_that_is_killed_leaves_its_records_to_the_next(
    server: MlflowServer, here: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, server.uri, str(here)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as killed:
        assert killed.stdin is not None
        assert killed.stdout is not None
        assert killed.stdout.readline() == "open\n"
        server.stop()
        killed.stdin.write("\n")
        killed.stdin.flush()
        assert killed.wait() == -signal.SIGKILL
    server.start()
    session(server, here).shutdown()
    run = by_name(server)["first"]
    assert run.info.status == "FINISHED"
    assert curve(server, run) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_refused_record_does_not_hold_up_the_rest(
    tracker: Tracker, server: MlflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = tracker.open_run("first", parent=None, params={"T": 1}, tags={})
    other = tracker.open_run("other", parent=None, params={}, tags={})
    tracker.flush()
    mlflow(server).delete_run(run)
    server.stop()
    train(tracker, run, range(1, 3))
    train(tracker, other, range(1, 3))
    tracker.close(other, "finished")
    server.start()
    tracker.flush()
    assert curve(server, by_name(server)["other"]) == [(1, 1.0), (2, 2.0)]
    assert "Current state is deleted" in caplog.text


def test_a_refused_file_leaves_the_rest_of_its_run(
    tracker: Tracker, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*_: object) -> None:
        raise MlflowException.invalid_parameter_value("too large")

    server.stop()
    run = tracker.open_run("first", parent=None, params={}, tags={})
    server.start()
    tracker.flush()
    with monkeypatch.context() as small:
        small.setattr(MlflowClient, "log_artifact", refuse)
        finish(tracker, run, tmp_path)
    train(tracker, run, range(1, 3))
    tracker.flush()
    assert by_name(server)["first"].info.status == "FINISHED"
    assert curve(server, by_name(server)["first"]) == [(1, 1.0), (2, 2.0)]


def test_a_record_that_always_fails_alone_is_left_out(
    tracker: Tracker, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TRIES", 2)
    run = tracker.open_run("first", parent=None, params={}, tags={})
    tracker.flush()

    def before(path: str) -> None:
        if path.endswith("log-batch"):
            raise ConnectionError

    server.before = before
    train(tracker, run, range(1, 2))
    with pytest.raises(TrackingError):
        tracker.flush()
    tracker.flush()
    tracker.close(run, "finished")
    assert by_name(server)["first"].info.status == "FINISHED"


def test_a_server_that_is_away_before_the_start(server: MlflowServer, here: Path) -> None:
    server.stop()
    with pytest.raises(UserError) as caught:
        session(server, here)
    assert str(caught.value) == (
        f"tracking.uri={server.uri}: nothing there answers as an MLflow server does "
        "(connection refused); start it, mend the address, or use tracking=local"
    )


def test_limits_of_requests_are_the_users_again(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    tracker.open_run("first", parent=None, params={}, tags={})
    tracker.flush()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_login_works_and_its_password_is_shown_nowhere(
    server: MlflowServer, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kdsweep")
    login, password = "us@er", "p@ss/W0rd!:?#"
    address = f"{quote(login, safe='')}:{quote(password, safe='')}@127.0.0.1:{server.port}"
    config = TrackingConfig(backend="server", uri=f"http://{address}", patience=0.0)
    server.authorizations.clear()
    tracker = create_tracker(config, root=here)
    run = tracker.open_run("first", parent=None, params={"T": 1}, tags={})
    tracker.close(run, "finished")
    expected = base64.b64encode(f"{login}:{password}".encode()).decode()
    assert server.authorizations == {f"Basic {expected}"}
    server.stop()
    train(tracker, run, range(1, 3))
    tracker.shutdown()
    (journal,) = (here / FOLDER).glob("*.jsonl")
    with pytest.raises(UserError) as refused:
        create_tracker(config, root=here).prepare()
    shown = [
        caplog.text,
        journal.read_text(),
        tracker.uri,
        tracker.ui_command(),
        tracker.compare_url([run]),
        str(refused.value),
    ]
    for text in shown:
        assert "W0rd" not in text
        assert quote(password, safe="") not in text
    assert f"tracking.uri=http://us%40er:***@127.0.0.1:{server.port}: " in str(refused.value)
