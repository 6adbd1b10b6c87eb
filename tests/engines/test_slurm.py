"""The head of a sweep and its jobs, with a queue and trainings that are played by threads."""

from __future__ import annotations

import dataclasses
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from kdsweep.config import (
    Config,
    DistillConfig,
    EngineConfig,
    PrunerConfig,
)
from kdsweep.engines import PopulationSpec, Task, folder, slurm
from kdsweep.engines.folder import PartFolder
from kdsweep.engines.queue import Listing
from kdsweep.engines.slurm import SlurmEngine, identities
from kdsweep.errors import Stopped, TrainingError, WorkerLost
from kdsweep.train.interfaces import Observer, Trained
from kdsweep.train.population import Member
from tests.train.setting import Quiet

Train = Callable[[PopulationSpec, Sequence[Member], Observer], tuple[str, object]]


def at_once(
    spec: PopulationSpec, members: Sequence[Member], observer: Observer
) -> tuple[str, object]:
    """Two epochs; those who leave after the first are dropped."""
    records = {member.name: {"val_loss": float(member.seed)} for member in members}
    observer.step(1, 2)
    leaving = observer.epoch(0, records)
    observer.epoch(1, {k: v for k, v in records.items() if k not in leaving})
    observer.step(2, 2)
    return "done", {
        m.name: Trained(
            name=m.name,
            seed=m.seed,
            status="dropped" if m.name in leaving else "finished",
            reason=leaving.get(m.name),
        )
        for m in members
    }


class Played:
    """A queue that outlives its head: jobs are threads that begin when they are let."""

    def __init__(self) -> None:
        self.arrays: list[list[str]] = []
        self.cancelled: list[str] = []
        self.folders: dict[str, Path] = {}
        self.listed: set[str] = set()
        self.go = threading.Event()
        self.go.set()
        self.dying: set[str] = set()  # jobs that end without having begun
        self.threads: list[threading.Thread] = []
        self.looks = 0

    @property
    def number(self) -> int:
        return self.looks

    def look(self, *, fresh: bool = False) -> Listing:
        self.looks += 1
        return Listing(number=self.looks, jobs=frozenset(self.listed))

    def submit(self, folders: Sequence[Path]) -> list[str]:
        jobs = [f"{len(self.arrays)}_{i}" for i in range(len(folders))]
        self.arrays.append(jobs)
        for job, path in zip(jobs, folders, strict=True):
            self.folders[job] = path
            self.listed.add(job)
            self.threads.append(threading.Thread(target=self.run, args=(job, path)))
            self.threads[-1].start()
        return jobs

    def run(self, job: str, path: Path) -> None:
        self.go.wait(60)
        if job not in self.dying and job not in self.cancelled:
            PartFolder(path).run()
        self.listed.discard(job)

    def cancel(self, job: str) -> None:
        self.cancelled.append(job)
        self.listed.discard(job)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    monkeypatch.setattr(slurm, "FILE_SECONDS", 0.01)
    monkeypatch.setattr(folder, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(folder, "train_outcome", at_once)
    made = Played()
    yield made
    made.go.set()
    for thread in made.threads:
        thread.join(30)


def config(root: Path, *, pruner: str = "none", jobs: int = 2, retries: int = 1) -> Config:
    return Config(
        root=str(root),
        pruner=PrunerConfig(name=pruner),
        study="mine",
        distill=DistillConfig(losses={"hinton": {"weight": 1.0}}),
        engine=EngineConfig(name="slurm", jobs=jobs, retries=retries),
    )


def task(made: Config, count: int = 4, *, trial: int = 0, setting: str = "s") -> Task:
    """Members that are named after their trials, as a command names them."""
    members = tuple(Member(name=f"{trial + i}#", seed=i, hyper={"lr": 0.1}) for i in range(count))
    return Task(spec=PopulationSpec(config=made), members=members, setting=setting)


def test_a_population_is_one_array(tmp_path: Path, queue: Played) -> None:
    made, quiet = config(tmp_path), Quiet()
    engine = SlurmEngine(made, queue)
    results = engine.submit(task(made), quiet).result(30)
    assert queue.arrays == [["0_0", "0_1"]]
    assert {name: (one.name, one.seed, one.status) for name, one in results.items()} == {
        f"{i}#": (f"{i}#", i, "finished") for i in range(4)
    }
    assert sorted(quiet.epochs, key=lambda e: (e[0], min(e[1]))) == [
        (0, {"0#", "1#"}), (0, {"2#", "3#"}), (1, {"0#", "1#"}), (1, {"2#", "3#"}),
    ]  # fmt: skip
    assert quiet.steps[-1] == (4, 4)
    there = PartFolder(queue.folders["0_0"]).task()
    assert (there.spec.config.train.fuse, there.spec.config.train.device) == ("loop", "cpu")
    engine.close()
    assert not queue.folders["0_0"].exists()  # a command that has ended well leaves nothing


def test_a_new_head_finds_jobs_that_run(
    tmp_path: Path, queue: Played, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    queue.go.clear()
    made = config(tmp_path)
    first = SlurmEngine(made, queue)
    future = first.submit(task(made), Quiet())
    first.close(Stopped(signal.SIGHUP))
    with pytest.raises(CancelledError):
        future.result(30)
    assert queue.cancelled == []
    assert "Slurm's jobs go on (0_0, 0_1): the same command finds them; scancel ends them" in [
        record.message for record in caplog.records
    ]
    again = dataclasses.replace(made, study="other", trial=7, engine=EngineConfig(name="slurm"))
    second, quiet = SlurmEngine(again, queue), Quiet()
    future = second.submit(task(again, trial=10), quiet)
    queue.go.set()
    assert sorted(future.result(30)) == ["10#", "11#", "12#", "13#"]
    assert queue.arrays == [["0_0", "0_1"]]
    assert len(quiet.epochs) == 4  # it hears of every epoch
    assert "slurm: 2 jobs of an earlier command found" in [r.message for r in caplog.records]
    second.close()


def test_a_new_head_loads_what_is_done_and_submits_the_rest(tmp_path: Path, queue: Played) -> None:
    made = config(tmp_path)
    first = SlurmEngine(made, queue)
    first.submit(task(made, 2), Quiet()).result(30)
    first.close(KeyboardInterrupt())  # before anything was recorded
    second = SlurmEngine(made, queue)
    results = second.submit(task(made, 5), Quiet()).result(30)
    assert sorted(results) == [f"{i}#" for i in range(5)]
    assert queue.arrays == [["0_0", "0_1"], ["1_0", "1_1"]]
    trained = [len(PartFolder(queue.folders[job]).members() or ()) for job in ("1_0", "1_1")]
    assert sorted(trained) == [1, 2]
    second.close()


def test_what_was_cancelled_or_has_failed_is_no_result(tmp_path: Path, queue: Played) -> None:
    made = config(tmp_path)
    queue.go.clear()
    first = SlurmEngine(made, queue)
    first.submit(task(made), Quiet())
    first.close(KeyboardInterrupt())
    assert sorted(queue.cancelled) == ["0_0", "0_1"]
    queue.go.set()
    second = SlurmEngine(made, queue)
    second.submit(task(made), Quiet()).result(30)
    assert len(queue.arrays) == 2
    second.close()


def test_what_a_job_raises_ends_the_population_and_is_not_kept(
    tmp_path: Path, queue: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(
        spec: PopulationSpec, members: Sequence[Member], observer: Observer
    ) -> tuple[str, object]:
        return "error", TrainingError("does not fit")

    monkeypatch.setattr(folder, "train_outcome", fail)
    made = config(tmp_path, jobs=1)
    engine = SlurmEngine(made, queue)
    with pytest.raises(TrainingError, match="does not fit"):
        engine.submit(task(made), Quiet()).result(30)
    monkeypatch.setattr(folder, "train_outcome", at_once)
    assert len(engine.submit(task(made), Quiet()).result(30)) == 4
    assert len(queue.arrays) == 2
    engine.close()


def test_a_job_that_ends_without_a_result_is_submitted_again(
    tmp_path: Path, queue: Played, caplog: pytest.LogCaptureFixture
) -> None:
    queue.dying = {"0_1"}
    made = config(tmp_path)
    engine = SlurmEngine(made, queue)
    assert len(engine.submit(task(made), Quiet()).result(30)) == 4
    assert queue.arrays == [["0_0", "0_1"], ["1_0"]]
    (record,) = caplog.records
    assert record.message == (
        "Slurm's job 0_1 has ended without a result (its log is in "
        f"{tmp_path}/slurm/jobs); submitted again"
    )
    engine.close()


def test_a_job_that_is_lost_again_and_again_is_told(tmp_path: Path, queue: Played) -> None:
    queue.dying = {"0_0", "1_0"}
    made = config(tmp_path, jobs=1)
    engine = SlurmEngine(made, queue)
    with pytest.raises(WorkerLost, match=r"job 1_0 has ended without a result, 2 times"):
        engine.submit(task(made), Quiet()).result(30)
    engine.close()


class Pruning(Quiet):
    """Drops one member after the first epoch."""

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        super().epoch(epoch, records)
        return {name: "pruned" for name in records if name.startswith("1") and epoch == 0}


def test_the_head_decides_who_leaves(tmp_path: Path, queue: Played) -> None:
    made = config(tmp_path, pruner="asha")
    engine = SlurmEngine(made, queue)
    results = engine.submit(task(made), Pruning()).result(30)
    assert {name: (one.status, one.reason) for name, one in results.items()} == {
        "0#": ("finished", None), "1#": ("dropped", "pruned"),
        "2#": ("finished", None), "3#": ("finished", None),
    }  # fmt: skip
    engine.close()


def test_another_setting_trains_anew(tmp_path: Path, queue: Played) -> None:
    made = config(tmp_path)
    engine = SlurmEngine(made, queue)
    for setting in ("one", "other", "one"):
        engine.submit(task(made, setting=setting), Quiet()).result(30)
    assert len(queue.arrays) == 2
    engine.close()


def test_members_are_what_they_are_and_not_what_they_are_called() -> None:
    one, other = Member(name="a", seed=1, hyper={"lr": 1.0}), Member(name="b", seed=1)
    same = dataclasses.replace(one, name="c")
    names = identities([one, other, same])
    assert len(set(names)) == 3
    assert identities([same, other]) == names[:2]
