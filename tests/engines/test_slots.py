"""Slots and devices of the local engine, with processes that are played by this one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from kdsweep.config import Config, TrainConfig
from kdsweep.engines import PopulationSpec, Task
from kdsweep.engines.engine import Part, Results, cut
from kdsweep.engines.local import LocalEngine
from kdsweep.engines.worker import Worker, WorkerEnded
from kdsweep.errors import TrainingError
from kdsweep.hardware.choose import Machine
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member
from tests.train.setting import Quiet

Train = Callable[[Part, PopulationSpec], Results]


class Played(Worker):
    """A worker whose training is a function, and that is no process."""

    def __init__(self, train: Train) -> None:
        self.play = train
        self.killed = False

    def train(self, part: Part, spec: PopulationSpec) -> Results:
        return self.play(part, spec)

    def kill(self) -> None:
        self.killed = True

    def end(self) -> str:
        return "SIGKILL"


class Setting:
    """An engine of a machine with GPUs; what was trained where, as it was begun."""

    def __init__(self, gpus: int, train: Train | None = None) -> None:
        self.began: list[tuple[str, int]] = []
        self.lock = threading.Lock()
        self.train = train or self.at_once
        self.engine = LocalEngine(
            machine=Machine(cores=8, gpus=gpus),
            start=lambda: Played(self.play),
        )

    def play(self, part: Part, spec: PopulationSpec) -> Results:
        with self.lock:
            self.began.append((spec.config.train.device, len(part.members)))
        return self.train(part, spec)

    @staticmethod
    def at_once(part: Part, spec: PopulationSpec) -> Results:
        part.step(1, 1)
        return {m.name: Trained(name=m.name, seed=0, status="finished") for m in part.members}


def task(members: int, **train: Any) -> Task:
    config = Config(train=TrainConfig(**train))
    named = tuple(Member(name=f"m{i}", seed=i, hyper={}) for i in range(members))
    return Task(spec=PopulationSpec(config=config), members=named)


@pytest.mark.parametrize(
    ("count", "parts", "sizes"),
    [(5, 2, [2, 3]), (25, 4, [6, 6, 6, 7]), (2, 4, [1, 1]), (3, 3, [1, 1, 1]), (1, 8, [1])],
)
def test_parts_are_balanced_and_complete(count: int, parts: int, sizes: list[int]) -> None:
    made = cut(task(count).members, parts)
    assert sorted(map(len, made)) == sorted(sizes)
    assert [m.name for part in made for m in part] == [f"m{i}" for i in range(count)]


def test_every_gpu_gets_a_part_without_being_asked() -> None:
    meeting = threading.Barrier(4, timeout=30)  # all four train at the same time

    def train(part: Part, spec: PopulationSpec) -> Results:
        meeting.wait()
        return Setting.at_once(part, spec)

    setting, quiet = Setting(4, train), Quiet()
    results = setting.engine.submit(task(10), quiet).result(60)
    assert sorted(results) == [f"m{i}" for i in range(10)]
    assert {device for device, _ in setting.began} == {f"cuda:{i}" for i in range(4)}
    assert sorted(count for _, count in setting.began) == [2, 2, 3, 3]
    assert quiet.steps[-1] == (4, 4)
    setting.engine.close()


def test_one_network_takes_one_gpu_and_leaves_room() -> None:
    go = threading.Event()

    def train(part: Part, spec: PopulationSpec) -> Results:
        go.wait(30)
        return Setting.at_once(part, spec)

    setting = Setting(2, train)
    first = setting.engine.submit(task(1), Quiet())
    assert setting.engine.has_room
    second = setting.engine.submit(task(1, epochs=3), Quiet())
    assert not setting.engine.has_room
    go.set()
    assert first.result(30).keys() == second.result(30).keys() == {"m0"}
    assert {device for device, _ in setting.began} == {"cuda:0", "cuda:1"}
    assert setting.engine.has_room
    setting.engine.close()


def test_a_gpu_that_fails_hands_its_part_to_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    met = threading.Event()

    def train(part: Part, spec: PopulationSpec) -> Results:
        if spec.config.train.device == "cuda:0":
            met.set()
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with")
        met.wait(30)
        return Setting.at_once(part, spec)

    setting = Setting(2, train)
    assert len(setting.engine.submit(task(4), Quiet()).result(30)) == 4
    (record,) = caplog.records
    assert record.message == (
        "cuda:0 has failed (CUDA error: uncorrectable ECC error encountered); its students go to "
        "other GPUs"
    )
    setting.began.clear()
    assert len(setting.engine.submit(task(4), Quiet()).result(30)) == 4
    assert setting.began == [("cuda:1", 4)]  # and the next population is not cut for it
    setting.engine.close()


def test_where_every_gpu_has_failed_that_is_told() -> None:
    def train(part: Part, spec: PopulationSpec) -> Results:
        raise RuntimeError("CUDA error: device-side assert triggered")

    setting = Setting(2, train)
    with pytest.raises(TrainingError, match="every GPU has failed: CUDA error: device-side"):
        setting.engine.submit(task(4), Quiet()).result(30)
    setting.engine.close()


def test_an_error_of_the_program_is_no_failure_of_the_gpu() -> None:
    def train(part: Part, spec: PopulationSpec) -> Results:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    setting = Setting(2, train)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        setting.engine.submit(task(4), Quiet()).result(30)
    assert len(setting.engine.slots) == 2
    setting.engine.close()


def test_cores_train_in_loops_of_one_thread() -> None:
    seen: list[tuple[str, int | None]] = []

    def train(part: Part, spec: PopulationSpec) -> Results:
        seen.append((spec.config.train.fuse, spec.config.train.threads))
        return Setting.at_once(part, spec)

    setting = Setting(0, train)
    setting.engine.submit(task(30, threads=3), Quiet()).result(30)
    assert seen == [("loop", 1)] * 3
    setting.engine.close()


def test_a_population_is_ended_by_a_process_that_is_lost_twice() -> None:
    def train(part: Part, spec: PopulationSpec) -> Results:
        if part.number == 0:
            raise WorkerEnded
        part.whole.ended.wait(30)
        raise WorkerEnded  # as a process does that is killed

    setting = Setting(0, train)
    with pytest.raises(Exception, match="lost twice"):
        setting.engine.submit(task(2, threads=2), Quiet()).result(30)
    setting.engine.close()


def test_a_process_that_is_stopped_with_this_one_is_not_called_lost(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    stopped = threading.Event()

    def end(self: Played) -> str:
        stopped.set()
        return "SIGTERM"

    def train(part: Part, spec: PopulationSpec) -> Results:
        raise WorkerEnded

    monkeypatch.setattr(Played, "end", end)
    setting = Setting(0, train)
    future = setting.engine.submit(task(2, threads=2), Quiet())
    assert stopped.wait(30)
    setting.engine.close()
    with pytest.raises(CancelledError):
        future.result(30)
    assert caplog.records == []


def test_what_waits_for_a_slot_ends_with_the_engine() -> None:
    go = threading.Event()

    def train(part: Part, spec: PopulationSpec) -> Results:
        go.wait(30)
        raise WorkerEnded

    setting = Setting(2, train)
    futures = [setting.engine.submit(task(4), Quiet()) for _ in range(3)]
    threading.Timer(0.1, go.set).start()
    setting.engine.close()
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(30)
