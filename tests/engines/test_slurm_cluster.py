"""Slurm itself: arrays, jobs that are queued again or preempted, a head that comes back."""

from __future__ import annotations

import dataclasses
import functools
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from kdsweep.config import (
    Config,
    DataConfig,
    EngineConfig,
    ModelConfig,
    OptimizerConfig,
    PairConfig,
    PrunerConfig,
    TrainConfig,
)
from kdsweep.engines import PopulationSpec, Task
from kdsweep.engines.folder import PartFolder
from kdsweep.engines.population import train_population
from kdsweep.engines.queue import Slurm
from kdsweep.engines.slots import for_slot
from kdsweep.engines.slurm import SlurmEngine, identities
from kdsweep.errors import Stopped
from kdsweep.store import digest
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member
from tests.conftest import REPOSITORY
from tests.train.setting import Quiet

DEADLINE = 300.0


@pytest.fixture(autouse=True)
def _cluster(slurm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def asked(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not there():
        assert time.monotonic() < end, "Slurm did not get there"
        time.sleep(0.1)


def spec(root: Path, *, pruner: str) -> PopulationSpec:
    """Three epochs on a few digits; with a pruner, a job waits after each for its head."""
    config = Config(
        data=DataConfig(name="digits", image_size=16, train_limit=65, val_fraction=0.02),
        pair=PairConfig(student=ModelConfig(name="cifar_student", width=0.125)),
        train=TrainConfig(
            epochs=3,
            batch_size=16,
            precision="float32",
            checkpoint_every=1,
            optimizer=OptimizerConfig(lr=0.01),
        ),
        pruner=PrunerConfig(name=pruner),
        engine=EngineConfig(name="slurm", jobs=2, partition="low"),
        root=str(root),
    )
    return PopulationSpec(config=config)


MEMBERS = tuple(
    Member(name=f"m{i}", seed=i, hyper={"lr": 0.01, "weight_decay": 0.0}) for i in range(4)
)


def folder_of(task: Task, root: Path, *members: Member) -> PartFolder:
    """Of the part that has exactly these members."""
    return PartFolder(root / "slurm" / task.setting / digest(sorted(identities(members))))


def job_of(task: Task, root: Path, *members: Member) -> str:
    """The job that trains exactly these members."""
    job = folder_of(task, root, *members).job
    assert job is not None
    return job


def fields(job: str) -> dict[str, str]:
    words = asked("scontrol", "--oneliner", "show", "job", job).split()
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def start_again(job: str) -> None:
    """Slurm lets a job wait for two minutes before it runs again: don't."""
    until(lambda: fields(job)["JobState"] == "PENDING")
    asked("scontrol", "update", f"JobId={fields(job)['JobId']}", "StartTime=now")


class Interrupting(Quiet):
    """Does something to the job of the first two members while that waits after its second epoch.

    A checkpoint of the first one is there.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act
        self.acted = threading.Event()

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        answer = super().epoch(epoch, records)
        if "m0" in records and epoch == 1:
            self.acted.set()
            self.act()
        return answer


def expected(made: PopulationSpec) -> dict[str, Trained]:
    return train_population(for_slot(made), MEMBERS, Quiet())


def assert_equal(trained: Mapping[str, Trained], other: Mapping[str, Trained]) -> None:
    """To the bit."""
    assert trained.keys() == other.keys()
    for name, one in trained.items():
        assert (one.status, one.history) == (other[name].status, other[name].history)
        for key, value in one.state.items():
            assert value.equal(other[name].state[key])


def resumed(root: Path) -> int:
    """How many jobs went on from a checkpoint of one epoch."""
    logs = [path.read_text() for path in (root / "slurm" / "jobs").glob("*.out")]
    return sum("1 of 3 epochs are done, by a checkpoint" in log for log in logs)


def heard(quiet: Quiet) -> list[tuple[int, str]]:
    return sorted((epoch, name) for epoch, names in quiet.epochs for name in names)


ONCE = [(epoch, f"m{i}") for epoch in range(3) for i in range(4)]


def test_a_job_that_is_queued_again_comes_to_the_same(tmp_path: Path) -> None:
    made = spec(tmp_path, pruner="median")
    task = Task(spec=made, members=MEMBERS, setting="s")
    jobs: list[str] = []

    def requeue() -> None:
        jobs.append(job_of(task, tmp_path, *MEMBERS[:2]))
        asked("scontrol", "requeue", jobs[0])
        start_again(jobs[0])

    engine, observer = SlurmEngine(made.config), Interrupting(requeue)
    try:
        trained = engine.submit(task, observer).result(DEADLINE)
        assert fields(jobs[0])["Restarts"] == "1"
    finally:
        engine.close()
    assert jobs[0].endswith("_0")  # the tasks of one array
    assert len(list((tmp_path / "slurm" / "jobs").glob("[0-9]*_submission.sh"))) == 1
    assert resumed(tmp_path) == 1
    assert heard(observer) == ONCE
    assert_equal(trained, expected(made))


def test_a_job_that_is_preempted_comes_to_the_same(tmp_path: Path) -> None:
    made = spec(tmp_path, pruner="median")
    task = Task(spec=made, members=MEMBERS, setting="s")
    restarts: list[str] = []

    def has_reported(part: PartFolder) -> bool:
        return any(kind == "epoch" for kind, _ in next(part.reports()))

    def preempt() -> None:
        parts = (MEMBERS[:2], MEMBERS[2:])
        for part in parts:  # both wait after an epoch: the head answers one by one
            until(functools.partial(has_reported, folder_of(task, tmp_path, *part)))
        urgent = ("--partition=high", "--cpus-per-task=2", "--output=/dev/null", "--wrap=true")
        asked("sbatch", "--wait", *urgent)
        for part in parts:
            job = job_of(task, tmp_path, *part)
            start_again(job)
            restarts.append(fields(job)["Restarts"])

    engine, observer = SlurmEngine(made.config), Interrupting(preempt)
    try:
        trained = engine.submit(task, observer).result(DEADLINE)
    finally:
        engine.close()
    assert restarts == ["1", "1"]
    assert resumed(tmp_path) >= 1  # of both, if both had a first epoch behind them
    assert heard(observer) == ONCE
    assert_equal(trained, expected(made))


def test_a_head_that_comes_back_finds_its_jobs(tmp_path: Path) -> None:
    made = spec(tmp_path, pruner="none")
    task = Task(spec=made, members=MEMBERS, setting="s")
    first = SlurmEngine(made.config)
    future = first.submit(task, Quiet())
    first.close(Stopped(signal.SIGHUP))
    with pytest.raises(CancelledError):
        future.result(DEADLINE)
    renamed = tuple(dataclasses.replace(m, name=f"again {m.name}") for m in MEMBERS)
    second, quiet = SlurmEngine(made.config), Quiet()
    try:
        results = second.submit(Task(spec=made, members=renamed, setting="s"), quiet).result(
            DEADLINE
        )
    finally:
        second.close()
    assert len(list((tmp_path / "slurm" / "jobs").glob("[0-9]*_submission.sh"))) == 1
    assert heard(quiet) == [(epoch, f"again {name}") for epoch, name in ONCE]
    assert_equal(
        {name.removeprefix("again "): one for name, one in results.items()}, expected(made)
    )


def test_a_job_that_is_cancelled_by_hand_is_submitted_again(tmp_path: Path) -> None:
    made = spec(tmp_path, pruner="median")
    task = Task(spec=made, members=MEMBERS, setting="s")
    jobs: list[str] = []

    def cancel() -> None:
        jobs.append(job_of(task, tmp_path, *MEMBERS[:2]))
        asked("scancel", jobs[0])
        until(lambda: jobs[0] not in asked("squeue", "-h", "-r", "-o", "%i").split())

    queue = Slurm(made.config.engine, tmp_path / "slurm" / "jobs", seconds=0.5)
    engine, observer = SlurmEngine(made.config, queue), Interrupting(cancel)
    try:
        trained = engine.submit(task, observer).result(DEADLINE)
    finally:
        engine.close()
    assert heard(observer) == ONCE
    assert_equal(trained, expected(made))


def test_what_runs_is_cancelled_with_the_command(tmp_path: Path) -> None:
    made = spec(tmp_path, pruner="median")
    reported = threading.Event()
    engine = SlurmEngine(made.config)
    engine.submit(Task(spec=made, members=MEMBERS, setting="s"), Interrupting(reported.set))
    assert reported.wait(DEADLINE)
    engine.close(KeyboardInterrupt())
    until(lambda: asked("squeue", "-h", "-r", "-o", "%i") == "")
    assert not list((tmp_path / "slurm").glob("*/*/task.pkl"))
