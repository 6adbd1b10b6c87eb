"""A real MLflow server that is killed in the midst of a real training."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EPOCHS = 30
PATIENCE_S = 120  # for a process of a loaded machine


class Server:
    """``mlflow server`` on a port of its own, with its store in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--port", self.uri.rpartition(":")[2]),
                *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
        until(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.read() == b"OK")
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    @property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    def runs(self, study: str) -> dict[str, Run]:
        """The runs of a study, each of which is there once."""
        experiment = self.client.get_experiment_by_name("kdsweep")
        if experiment is None:
            return {}
        condition = f"tags.`kdsweep.study` = '{study}'"
        runs = list(self.client.search_runs([experiment.experiment_id], condition))
        names = [run.info.run_name for run in runs]
        assert len(set(names)) == len(names)
        return dict(zip(names, runs, strict=True))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


def sweep(server: Server, folder: Path, study: str, patience: int) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "kdsweep", "-m", "experiment=smoke", f"study={study}"),
            *("distill.temperature=1,2", f"train.epochs={EPOCHS}", "tracking=server"),
            *(f"tracking.uri={server.uri}", f"tracking.patience={patience}"),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states(folder: Path, study: str) -> list[str]:
    import optuna

    storage = f"sqlite:///{folder}/mlruns/optuna.db"
    return [t.state.name for t in optuna.load_study(study_name=study, storage=storage).trials]


def is_training(server: Server, study: str) -> bool:
    return any("train_loss" in run.data.metrics for run in server.runs(study).values())


def check(server: Server, study: str) -> None:
    """Everything is finished, and each epoch of each network is there once."""
    runs = server.runs(study)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    trained = [run for run in runs.values() if run.data.tags["kdsweep.kind"] == "run"]
    roles = sorted(run.data.tags["kdsweep.role"] for run in trained)
    assert roles.count("student") == 2
    assert roles.count("teacher") == 1
    for run in trained:
        if run.data.tags["kdsweep.role"] == "student":
            history = server.client.get_metric_history(run.info.run_id, "train_loss")
            assert [metric.step for metric in history] == list(range(1, EPOCHS + 1))
            files = [f.path for f in server.client.list_artifacts(run.info.run_id, "checkpoint")]
            assert files


# One story in one test, since a server takes long to start.
def test_a_server_that_is_killed_in_mid_training(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    outbox = folder / "mlruns" / "tracking-outbox"

    with sweep(server, folder, "returns", patience=PATIENCE_S) as process:
        until(lambda: is_training(server, "returns"))
        server.kill()
        until(lambda: list(outbox.glob("*.jsonl")))
        server.start()
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert said.count("training goes on, and records wait under root") == 1
    assert said.count("The tracking store is back and has all records") == 1
    assert states(folder, "returns") == ["COMPLETE", "COMPLETE"]
    check(server, "returns")

    with sweep(server, folder, "stays-away", patience=0) as process:
        until(lambda: is_training(server, "stays-away") or process.poll() is not None)
        server.kill()
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "the next session with this root and store delivers them" in said
    assert len(said.splitlines()) < 60
    assert states(folder, "stays-away") == ["COMPLETE", "COMPLETE"]

    with sweep(server, folder, "stays-away", patience=0) as process:
        said, _ = process.communicate()
    assert process.returncode == 2, "before any training a server that is away is a user's error"
    assert (
        said.strip().splitlines()[-1].endswith("start it, mend the address, or use tracking=local")
    )

    server.start()
    with sweep(server, folder, "stays-away", patience=0) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "of an earlier session are delivered" in said
    assert list(outbox.iterdir()) == []
    check(server, "stays-away")
