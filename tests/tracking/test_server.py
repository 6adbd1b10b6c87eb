"""The UI command that users are told, run as they would, and used as a tracking server."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdsweep.config import TrackingConfig
from kdsweep.tracking import DatasetInfo, create_tracker


def answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            return bool(answer.read() == b"OK")
    except OSError:
        return False


@pytest.fixture
def local_run(root: Path) -> str:
    tracker = create_tracker(TrackingConfig(), root=root)
    run = tracker.open_run("local", parent=None, params={}, tags={"kdsweep.study": "s"})
    tracker.log_text(run, "seed: 0\n", "config.yaml")
    tracker.close(run, "finished")
    return run


@pytest.fixture
def server(root: Path, local_run: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server started with the command for the local store."""
    monkeypatch.chdir(root.parent)
    command = create_tracker(TrackingConfig(), root=root).ui_command()
    assert f"sqlite:///{root}/mlflow.db" in command
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    with (root.parent / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*shlex.split(command), "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
    try:
        deadline = time.monotonic() + 120
        while not answers(uri):
            assert process.poll() is None, (root.parent / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_a_server(server: str, local_run: str, tmp_path: Path, root: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(server, server)
    seen = client.get_run(local_run)
    assert (seen.info.run_name, seen.info.status) == ("local", "FINISHED")
    assert [file.path for file in client.list_artifacts(local_run)] == ["config.yaml"]

    config = TrackingConfig(backend="server", uri=server, experiment="remote")
    tracker = create_tracker(config, root=tmp_path / "elsewhere")
    tracker.prepare()
    sweep = tracker.open_sweep("s", params={"cells": 1}, tags={})
    run = tracker.open_run(
        "cell",
        parent=sweep,
        params={"distill": {"temperature": 4.0}},
        tags={},
        dataset=DatasetInfo(
            name="digits",
            digest="ab" * 32,
            source="http://x/y",
            source_type="http",
            n_train=3,
            n_val=2,
            n_test=1,
        ),
    )
    for epoch in (1, 2, 3):
        tracker.log_epoch(run, {"loss": 1 / epoch, "bad": float("nan")}, epoch=epoch)
    tracker.log_text(run, "seed: 1\n", "config.yaml")
    tracker.close(run, "finished")
    assert tracker.close_dangling("s") == 0
    tracker.close(sweep, "finished")
    assert tracker.open_sweep("s", params={}, tags={}) == sweep

    read = client.get_run(run)
    assert read.data.params == {"distill.temperature": "4.0"}
    assert [m.value for m in client.get_metric_history(run, "loss")] == [1.0, 1 / 2, 1 / 3]
    assert read.info.artifact_uri.startswith("mlflow-artifacts:")
    assert Path(client.download_artifacts(run, "config.yaml")).read_text() == "seed: 1\n"
    assert read.inputs is not None
    assert read.inputs.dataset_inputs[0].dataset.source == '{"url": "http://x/y"}'
    names = [record.name for record in tracker.runs_of("s")]
    assert names == ["s", "cell"]
    assert tracker.compare_url([run]).startswith(f"{server}/#/compare-runs?runs=")
    assert not (tmp_path / "elsewhere" / "mlflow.db").exists()
    tracker.shutdown()
