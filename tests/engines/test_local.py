from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kdsweep.config import (
    Config,
    DataConfig,
    DistillConfig,
    ModelConfig,
    OptimizerConfig,
    PairConfig,
    ScheduleConfig,
    TrainConfig,
    ViewsConfig,
)
from kdsweep.engines import Task
from kdsweep.engines.local import LocalEngine
from kdsweep.engines.networks import PopulationSpec, with_train
from kdsweep.engines.population import train_population
from kdsweep.errors import TrainingError, UserError, WorkerLost
from kdsweep.hardware.choose import Machine
from kdsweep.models import create_model
from kdsweep.teachers.meta import NetworkMeta
from kdsweep.teachers.stored import WEIGHTS, Found
from kdsweep.train.interfaces import Observer, Trained
from kdsweep.train.population import Member
from tests.train.setting import Quiet, assert_same

SIZE = 16


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> PopulationSpec:
    """Small digits, an eighth of system 1's student, and a teacher with random parameters."""
    root = tmp_path_factory.mktemp("root")
    views = ViewsConfig(padding=1, flip=True)
    config = Config(
        data=DataConfig(image_size=SIZE, train_limit=65, val_fraction=0.02, views=views),
        pair=PairConfig(
            teacher=ModelConfig(name="cifar_student", width=0.25),
            student=ModelConfig(name="cifar_student", width=0.125),
        ),
        distill=DistillConfig(losses={"hinton": {"weight": 1.0}}),
        train=TrainConfig(
            epochs=2,
            batch_size=16,
            precision="float64",
            fuse="loop",
            threads=1,
            optimizer=OptimizerConfig(lr=0.01),
        ),
        schedule=ScheduleConfig(name="onecycle"),
        root=str(root),
    )
    torch.manual_seed(1)
    model = create_model(config.pair.teacher, classes=10, image_size=SIZE)
    save_file(model.state_dict(), root / WEIGHTS)
    meta = NetworkMeta(name="cifar_student", seed=1, classes=10, split="validation")
    teacher = Found(kind="teacher", key="t", folder=root, meta=meta, found=True)
    return PopulationSpec(config=config, teacher=teacher)


Records = Mapping[str, Mapping[str, float]]


class Pool:
    """An engine of two processes, spawned as in production."""

    def __init__(self) -> None:
        self.engine = LocalEngine(machine=Machine(cores=2, gpus=0))

    def train(
        self, spec: PopulationSpec, members: list[Member], observer: Observer, processes: int = 2
    ) -> dict[str, Trained]:
        wanted = with_train(spec, fuse="workers", threads=processes)
        task = Task(spec=wanted, members=tuple(members))
        return self.engine.submit(task, observer).result()

    def process_of(self, member: str) -> SpawnProcess:
        """The process that trains a member, or was the last to."""
        (found,) = self.processes_of(member)
        return found

    def processes_of(self, member: str) -> list[SpawnProcess]:
        return [
            slot.worker.process
            for slot in self.engine.slots
            if slot.worker and slot.part and member in {one.name for one in slot.part.members}
        ]

    @property
    def processes(self) -> list[SpawnProcess]:
        return [slot.worker.process for slot in self.engine.slots if slot.worker is not None]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """What ends one worker lets the next test start another."""
    made = Pool()
    yield made
    made.engine.close()


def members(count: int) -> list[Member]:
    return [
        Member(
            name=f"m{i}",
            seed=i // 2,
            hyper={"lr": 0.01, "weight_decay": 0.0, "temperature": 1.0 + i, "alpha": 0.1 * i},
        )
        for i in range(count)
    ]


def test_one_process_two_processes_and_one_network_agree(spec: PopulationSpec, pool: Pool) -> None:
    quiet = Quiet()
    apart = pool.train(spec, members(5), quiet, processes=2)
    assert set(apart) == {f"m{i}" for i in range(5)}
    assert quiet.steps[-1][0] == quiet.steps[-1][1]
    assert heard(quiet) == [(epoch, f"m{i}") for epoch in range(2) for i in range(5)]
    grouped = train_population(with_train(spec, fuse="grouped"), members(5), Quiet())
    for i in (0, 3, 4):
        (member,) = members(5)[i : i + 1]
        solo = train_population(spec, [member], Quiet())[member.name]
        assert_same(solo, apart[member.name])
        assert_same(solo, grouped[member.name])


def heard(observer: Quiet) -> list[tuple[int, str]]:
    """Each epoch of each member that was reported, sorted."""
    return sorted((epoch, name) for epoch, names in observer.epochs for name in names)


def test_the_parent_decides_who_leaves(spec: PopulationSpec, pool: Pool) -> None:
    leaving = Quiet({"m1": "pruned", "m2": "pruned"})
    results = pool.train(spec, members(4), leaving, processes=2)
    assert {name: trained.status for name, trained in results.items()} == {
        "m0": "finished", "m1": "dropped", "m2": "dropped", "m3": "finished",
    }  # fmt: skip
    assert results["m1"].reason == "pruned"
    assert len(results["m2"].history) == 1


def test_no_more_processes_are_started_than_there_are_members(spec: PopulationSpec) -> None:
    made = Pool()
    try:
        made.train(spec, members(2), Quiet(), processes=8)
        assert len(made.processes) == 2
    finally:
        made.engine.close()
    assert made.processes == []


def test_every_loss_takes_float64(spec: PopulationSpec) -> None:
    crd = DistillConfig(losses={"crd": {"dimensions": 4, "negatives": 5}})
    config = dataclasses.replace(spec.config, distill=crd)
    results = train_population(dataclasses.replace(spec, config=config), members(1), Quiet())
    assert results["m0"].status == "finished"


def test_a_teacher_that_was_trained_anew_has_a_bank_of_its_own(
    spec: PopulationSpec, tmp_path: Path
) -> None:
    def banks() -> set[str]:
        return {path.name for path in (Path(spec.config.root) / "store" / "bank").iterdir()}

    train_population(with_train(spec, epochs=1), members(1), Quiet())
    before = banks()
    torch.manual_seed(2)
    model = create_model(spec.config.pair.teacher, classes=10, image_size=SIZE)
    save_file(model.state_dict(), tmp_path / WEIGHTS)
    assert spec.teacher is not None
    anew = dataclasses.replace(spec.teacher, folder=tmp_path)  # found by the same key
    train_population(
        with_train(dataclasses.replace(spec, teacher=anew), epochs=1), members(1), Quiet()
    )
    assert len(banks()) == len(before) + 1


def test_what_a_worker_cannot_do_is_the_users_line(spec: PopulationSpec, pool: Pool) -> None:
    missing = dataclasses.replace(spec.config.data, train_limit=10**6)
    config = dataclasses.replace(spec.config, data=missing)
    with pytest.raises(UserError, match=r"^data.train_limit=1000000: there are"):
        pool.train(dataclasses.replace(spec, config=config), members(2), Quiet(), processes=2)
    assert pool.train(spec, members(2), Quiet())["m0"].status == "finished"


def test_an_unexpected_error_stays_one_and_keeps_its_traceback(
    spec: PopulationSpec, pool: Pool, tmp_path: Path
) -> None:
    assert spec.teacher is not None
    gone = dataclasses.replace(spec.teacher, folder=tmp_path / "gone")
    with pytest.raises(FileNotFoundError) as caught:
        pool.train(dataclasses.replace(spec, teacher=gone), members(2), Quiet(), processes=2)
    (note,) = caught.value.__notes__
    assert "Traceback" in note
    assert "train_population" in note


class Killing(Quiet):
    """An observer that kills the worker of a member whenever that reports its first epoch."""

    def __init__(self, pool: Pool, *, times: int, by: signal.Signals = signal.SIGKILL) -> None:
        super().__init__({"m1": "pruned"})
        self.pool = pool
        self.times = times
        self.by = by

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        if "m0" in records and self.times:
            self.times -= 1
            self.kill(self.pool.process_of("m0"))
        return super().epoch(epoch, records)

    def kill(self, process: SpawnProcess) -> None:
        assert process.pid is not None
        os.kill(process.pid, self.by)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_the_part_of_a_killed_worker_is_trained_again(
    spec: PopulationSpec, pool: Pool, by: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    undisturbed, killing = Quiet({"m1": "pruned"}), Killing(pool, times=1, by=by)
    expected = pool.train(spec, members(4), undisturbed, processes=2)
    kept = set(pool.processes)
    trained = pool.train(spec, members(4), killing, processes=2)
    assert killing.times == 0
    assert len(kept & set(pool.processes)) == 1  # the other worker has not noticed
    assert heard(killing) == heard(undisturbed)  # no epoch twice
    assert trained.keys() == expected.keys()
    for name, one in trained.items():
        other = expected[name]
        assert (one.status, one.reason, one.history) == (
            other.status, other.reason, other.history
        )  # fmt: skip
        assert all(torch.equal(value, other.state[key]) for key, value in one.state.items())
    (record,) = caplog.records
    assert record.message == (
        f"a training process was lost ({by.name}); 2 students are trained again"
    )


class KillingTwice(Killing):
    """Kills the worker of a member, and as soon as it is there the one in its place."""

    def kill(self, process: SpawnProcess) -> None:
        super().kill(process)
        threading.Thread(target=self.kill_next, args=(process,), daemon=True).start()

    def kill_next(self, before: SpawnProcess) -> None:
        while not (there := [p for p in self.pool.processes_of("m0") if p is not before]):
            time.sleep(0.01)
        super().kill(there[0])


def test_a_part_that_is_lost_twice_is_told_and_is_no_failed_training(
    spec: PopulationSpec, pool: Pool
) -> None:
    with pytest.raises(WorkerLost) as caught:
        pool.train(spec, members(2), KillingTwice(pool, times=1), processes=2)
    assert str(caught.value) == (
        "a training process was lost twice (SIGKILL, as the system does when memory runs out); "
        "free some memory and give the same command again: what is finished is kept"
    )
    assert not isinstance(caught.value, TrainingError)
    assert caught.value.exit_status == 1
    assert pool.train(spec, members(2), Quiet(), processes=2)["m0"].status == "finished"


def test_a_worker_that_died_while_it_waited_is_replaced(spec: PopulationSpec, pool: Pool) -> None:
    pool.train(spec, members(2), Quiet(), processes=2)
    pool.processes[1].kill()
    pool.processes[1].join(10)
    results = pool.train(spec, members(2), Quiet(), processes=2)
    assert {trained.status for trained in results.values()} == {"finished"}


def test_a_part_that_fails_ends_the_others(spec: PopulationSpec, pool: Pool) -> None:
    class Stopping(Quiet):
        def epoch(
            self, epoch: int, records: Mapping[str, Mapping[str, float]]
        ) -> Mapping[str, str]:
            if "m0" in records:
                raise KeyboardInterrupt
            return super().epoch(epoch, records)

    before = set(pool.processes)
    with pytest.raises(KeyboardInterrupt):
        pool.train(with_train(spec, epochs=10_000), members(2), Stopping())
    assert pool.train(spec, members(2), Quiet())["m1"].status == "finished"
    assert set(pool.processes) != before


def test_what_runs_ends_when_the_engine_is_closed(spec: PopulationSpec) -> None:
    reported = threading.Event()

    class Reporting(Quiet):
        def epoch(
            self, epoch: int, records: Mapping[str, Mapping[str, float]]
        ) -> Mapping[str, str]:
            reported.set()
            return super().epoch(epoch, records)

    made = Pool()
    wanted = with_train(spec, fuse="workers", threads=2, epochs=10_000)
    task = Task(spec=wanted, members=tuple(members(3)))
    ended = [made.engine.submit(task, Reporting()), made.engine.submit(task, Quiet())]
    assert not made.engine.has_room
    assert reported.wait(120)
    processes = made.processes
    made.engine.close()
    assert all(process.exitcode == -signal.SIGKILL for process in processes)
    for future in ended:
        with pytest.raises(CancelledError):
            future.result()


def test_workers_outlive_the_thread_that_started_them(spec: PopulationSpec) -> None:
    made = Pool()
    try:
        thread = threading.Thread(
            target=made.train, args=(spec, members(2), Quiet()), kwargs={"processes": 2}
        )
        thread.start()
        thread.join()
        assert len(made.processes) == 2
        for process in made.processes:
            process.join(0.5)
            assert process.is_alive()
    finally:
        made.engine.close()
