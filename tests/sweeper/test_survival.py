"""What a sweep leaves behind that is killed, and what four sweeps do on one study."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.sweeper.survival import CELLS, check_finished, kill_often, start, workers_of

POSTGRES = "KDSWEEP_TEST_POSTGRES"


def test_a_sweep_survives_being_killed(tmp_path: Path) -> None:
    kill_often(tmp_path, kills=4, longest=16, seed=1)
    assert check_finished(tmp_path)["COMPLETE"] == CELLS
    assert "locked" not in (tmp_path / "output.log").read_text()


def test_a_killed_sweep_takes_its_workers_along(tmp_path: Path) -> None:
    process = start(tmp_path, "train.fuse=workers", "train.threads=2")
    deadline = time.monotonic() + 120
    while len(workers_of(process.pid)) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, (tmp_path / "output.log").read_text()
        time.sleep(0.1)
    assert len(workers_of(process.pid)) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while workers_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_of(process.pid) == []


def four_at_once(folder: Path, *more: str) -> str:
    processes = [start(folder, "hydra.sweeper.n_jobs=1", *more) for _ in range(4)]
    statuses = [process.wait(timeout=600) for process in processes]
    said = (folder / "output.log").read_text()
    assert statuses == [0] * 4, said[-3000:]
    assert "locked" not in said
    return said


def test_four_processes_share_a_study_in_sqlite(tmp_path: Path) -> None:
    four_at_once(tmp_path)
    assert check_finished(tmp_path) == {"COMPLETE": CELLS}


def postgres() -> str:
    """The server's address; where there is none, only a build server insists."""
    address = os.environ.get(POSTGRES)
    if address is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{POSTGRES} is not set")
        pytest.skip(f"{POSTGRES}=postgresql+psycopg2://USER@HOST/DATABASE names a server to use")
    return address


def test_four_processes_share_a_study_in_postgresql(tmp_path: Path) -> None:
    import optuna

    storage = postgres()
    if "survival" in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name="survival", storage=storage)
    four_at_once(tmp_path, f"storage={storage}")
    assert check_finished(tmp_path, storage=storage) == {"COMPLETE": CELLS}
