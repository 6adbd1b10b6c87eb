"""A store that fails while runs are open: what was logged is kept, and the user is told."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdsweep.tracking import Tracker, TrackingError
from tests.tracking.opened import open_run
from tests.tracking.test_connect import full_disk

if TYPE_CHECKING:
    from mlflow import MlflowClient


def test_a_disk_that_fills_up_loses_nothing(
    tracker: Tracker, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(tracker)
    with full_disk():
        tracker.log_epoch(run, {"loss": 1.0}, epoch=1)
        tracker.log_text(run, "x" * 100_000, "config.yaml")
        tracker.close(run, "finished")
        with pytest.raises(TrackingError, match="full or failing disk"):
            tracker.flush()
    away, kept_in_memory = caplog.messages
    assert "mlflow.db can't be written" in away
    assert "since the disk does not take them" in kept_in_memory
    assert client.get_run(run).info.status == "RUNNING"
    tracker.log_epoch(run, {"loss": 2.0}, epoch=2)
    tracker.close(run, "finished")
    tracker.flush()
    assert client.get_run(run).info.status == "FINISHED"
    assert Path(client.download_artifacts(run, "config.yaml")).stat().st_size == 100_000
    assert [m.value for m in client.get_metric_history(run, "loss")] == [1.0, 2.0]


def test_a_full_artefact_disk_keeps_what_waits(
    tracker: Tracker, client: MlflowClient, tmp_path: Path
) -> None:
    run = open_run(tracker)
    with full_disk():
        tracker.log_text(run, "x" * 100_000, "config.yaml")
        with pytest.raises(TrackingError, match=r"config\.yaml"):
            tracker.flush()
    tracker.flush()
    assert Path(client.download_artifacts(run, "config.yaml")).stat().st_size == 100_000


def test_training_goes_on_while_another_program_locks_the_store(
    tracker: Tracker, client: MlflowClient, root: Path
) -> None:
    run = open_run(tracker)
    with closing(sqlite3.connect(root / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.perf_counter()
        for epoch in (1, 2, 3):
            tracker.log_epoch(run, {"loss": float(epoch)}, epoch=epoch)
        assert time.perf_counter() - began < 5  # the store's own patience is 20 s
        other.rollback()
    tracker.close(run, "finished")
    assert [m.value for m in client.get_metric_history(run, "loss")] == [1.0, 2.0, 3.0]


def test_a_run_that_was_deleted_is_told_of_once_and_fails_nothing(
    tracker: Tracker, client: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(tracker)
    client.delete_run(run)
    (tmp_path / "a.txt").write_text("a")
    tracker.log_epoch(run, {"loss": 1.0}, epoch=1)
    tracker.flush()
    tracker.log_file(run, tmp_path / "a.txt")
    tracker.close(run, "finished")
    (line,) = caplog.messages
    assert f"of run {run}" in line
    assert "must be in the 'active' state. Current state is deleted" in line
    client.restore_run(run)


def test_a_missing_artefact_is_told_of(tracker: Tracker, tmp_path: Path) -> None:
    run = open_run(tracker)
    with pytest.raises(TrackingError, match=r"artefact none\.bin"):
        tracker.log_file(run, tmp_path / "none.bin")
