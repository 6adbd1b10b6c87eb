"""A sweep that is killed at random moments and started again, until it is finished."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run
    from optuna.trial import FrozenTrial

CELLS = 6
COMMAND = [
    sys.executable, "-m", "kdsweep", "-m", "experiment=smoke", "study=survival",
    "distill.temperature=1,2,3", "distill.alpha=0.3,0.7",
    "hydra.sweeper.n_jobs=2", "hydra.sweeper.max_retries=100",
]  # fmt: skip
REPOSITORY = Path(__file__).parent.parent.parent


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    with (folder / "output.log").open("ab") as log:
        return subprocess.Popen(
            [*COMMAND, *more],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def kill_often(folder: Path, *, kills: int, longest: float, seed: int = 0) -> list[float]:
    """Start the sweep and kill it, ``kills`` times, then let it end; when it was killed."""
    chance = random.Random(seed)
    moments = []
    for _ in range(kills):
        process = start(folder)
        moment = chance.uniform(0.5, longest)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)  # its workers must die by themselves
            process.wait()
            moments.append(moment)
        time.sleep(0.2)
    final = start(folder)
    assert final.wait(timeout=600) == 0, (folder / "output.log").read_text()[-3000:]
    return moments


def check_finished(folder: Path, *, storage: str | None = None) -> dict[str, int]:
    """Every cell is there exactly once, nothing runs, and both databases open."""
    import optuna
    from mlflow import MlflowClient
    from optuna.trial import TrialState

    where = storage or f"sqlite:///{folder}/mlruns/optuna.db"
    study = optuna.load_study(study_name="survival", storage=where)
    trials = study.get_trials()
    states = Counter(trial.state.name for trial in trials)
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    cells = Counter(tuple(sorted(t.params.items())) for t in complete)
    assert len(cells) == CELLS, cells
    assert set(cells.values()) == {1}, cells
    assert states["RUNNING"] == 0, states
    assert states["WAITING"] == 0, states
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert not [run for run in runs if run.info.status == "RUNNING"]
    parents = [run for run in runs if run.data.tags["kdsweep.kind"] == "sweep"]
    assert len(parents) == 1, parents
    for trial in complete:
        run = run_of(trial, runs)
        assert run.info.status == "FINISHED"
        assert run.data.metrics["val_accuracy"] == trial.value
    return dict(states)


def run_of(trial: FrozenTrial, runs: Sequence[Run]) -> Run:
    """A trial's, by the id that its record has: the store's, or where that was busy our own."""
    known = trial.user_attrs["mlflow_run_id"]
    (run,) = [r for r in runs if known in (r.info.run_id, r.data.tags.get("kdsweep.id"))]
    return run


def workers_of(process: int) -> list[int]:
    """Processes of the session that a started sweep leads, where the system lists them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[3]) == process and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


if __name__ == "__main__":
    place = Path(sys.argv[1])
    print(
        "killed after",
        [
            round(m, 1)
            for m in kill_often(place, kills=int(sys.argv[2]), longest=float(sys.argv[3]))
        ],
    )
    print(check_finished(place))
