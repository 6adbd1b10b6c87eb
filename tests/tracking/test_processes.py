"""Several real processes on one store: made at the same moment, shared, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdsweep.config import TrackingConfig
from kdsweep.tracking import Tracker, create_tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

WORKER = """
import sys
from pathlib import Path
from kdsweep.config import TrackingConfig
from kdsweep.tracking import create_tracker

root, name = Path(sys.argv[1]), sys.argv[2]
tracker = create_tracker(TrackingConfig(), root=root)
tracker.prepare()
sweep = tracker.open_sweep("s", params={"cells": 3, name: 1}, tags={})
run = tracker.open_run(name, parent=sweep, params={}, tags={})
tracker.log_epoch(run, {"loss": 1.0}, epoch=1)
if name == "killed":
    tracker.flush()
    print("ready", flush=True)
    input()
sys.exit(3)  # in the middle, like Ctrl-C: what was logged is not lost
"""


def start(root: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORKER, str(root), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_EXPERIMENT_NAME": "shared"},
    )


CELL = """
import dataclasses
import sys
from pathlib import Path
from kdsweep.tracking import delivery, owner, tracker
from kdsweep.config import TrackingConfig

host = dataclasses.replace(owner.this_process(), boot="another", pid=1)
tracker.this_process = lambda: host
from kdsweep.tracking import create_tracker

made = create_tracker(TrackingConfig(experiment="shared"), root=Path(sys.argv[1]))
sweep = made.open_sweep("away", params={}, tags={})
made.open_run("cell", parent=sweep, params={}, tags={})
made.shutdown()
"""


@pytest.fixture(scope="module")
def fresh_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root that two processes made at once: one left in the middle, one is to be killed."""
    root = tmp_path_factory.mktemp("fresh") / "mlruns"
    workers = {name: start(root, name) for name in ("exits", "killed")}
    try:
        _, errors = workers["exits"].communicate(timeout=120)
        assert errors == ""
        assert workers["exits"].returncode == 3
        stdout = workers["killed"].stdout
        assert stdout is not None
        assert stdout.readline() == "ready\n"
        yield root
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()


@pytest.fixture
def tracker(fresh_root: Path) -> Iterator[Tracker]:
    tracker = create_tracker(TrackingConfig(experiment="shared"), root=fresh_root)
    yield tracker
    tracker.shutdown()


def states(tracker: Tracker) -> dict[str, tuple[str, str]]:
    return {record.name: (record.status, record.state) for record in tracker.runs_of("s")}


# One story in one test: each step stands on the one before.
def test_processes_that_share_a_store_from_its_first_moment(
    tracker: Tracker, client: MlflowClient, fresh_root: Path
) -> None:
    running, finished, killed = (
        ("RUNNING", "running"),
        ("FINISHED", "finished"),
        ("KILLED", "killed"),
    )
    records = tracker.runs_of("s")
    (sweep,) = [record for record in records if record.sweep]
    assert {record.parent for record in records} == {None, sweep.run_id}
    assert {"cells", "exits", "killed"} == set(sweep.params)
    expected = {"s": running, "exits": running, "killed": running}
    assert states(tracker) == expected
    assert all(record.metrics == {"loss": 1.0} for record in records if not record.sweep)
    assert not (fresh_root / "mlflow.db.new").exists()

    assert tracker.open_sweep("s", params={}, tags={}) == sweep.run_id
    mine = tracker.open_run("mine", parent=sweep.run_id, params={}, tags={})
    assert tracker.close_dangling("s") == 1
    expected |= {"exits": killed, "mine": running}
    assert states(tracker) == expected, "the process to be killed still lives, and so do we"
    tracker.close(mine, "finished")
    tracker.close(sweep.run_id, "finished")
    expected |= {"mine": finished}
    assert states(tracker) == expected, "the sweep is open as long as one process has it"

    (victim,) = [record for record in records if record.name == "killed"]
    pid = int(victim.tags["kdsweep.owner"].split()[0].removeprefix("pid="))
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while tracker.close_dangling("s") == 0:
        assert time.monotonic() < deadline
    expected |= {"killed": killed, "s": killed}
    assert states(tracker) == expected
    read = client.get_run(victim.run_id)
    assert f"({pid} on" in read.data.tags["kdsweep.reason"]
    (point,) = client.get_metric_history(victim.run_id, "loss")
    assert read.info.end_time == point.timestamp, "it ended when it was last heard of"
    assert tracker.close_dangling("s") == 0

    assert tracker.open_sweep("s", params={}, tags={}) == sweep.run_id
    assert states(tracker)["s"] == running
    tracker.close(sweep.run_id, "finished")
    assert states(tracker) == expected | {"s": finished}


def test_runs_of_another_host_end_when_the_sweep_takes_it_for_lost(
    tracker: Tracker, client: MlflowClient, fresh_root: Path
) -> None:
    subprocess.run([sys.executable, "-c", CELL, str(fresh_root)], check=True)
    assert tracker.close_dangling("away") == 0, "a host of the same name may live"
    sweep = tracker.open_sweep("away", params={}, tags={})
    assert tracker.close_dangling("away", lambda owner: owner.boot == "another") == 1
    status = {one.name: one.status for one in tracker.runs_of("away")}
    assert status == {"away": "RUNNING", "cell": "KILLED"}, "we have the sweep open"
    tracker.close(sweep, "finished")
    assert client.get_run(sweep).info.status == "FINISHED", "the lost host is forgotten"
