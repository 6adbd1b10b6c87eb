from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
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
from kdsweep.errors import TrainingError, UserError
from kdsweep.models import create_model
from kdsweep.run.population import Group, train_group
from kdsweep.run.workers import Workers, pack, split, stop_workers, unpack, workers
from kdsweep.teachers.meta import NetworkMeta
from kdsweep.teachers.stored import WEIGHTS, Found
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member
from tests.train.setting import Quiet, assert_same

# From Python 3.12 on, forking while there are threads warns; the children use one.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
SIZE = 16


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
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
    return Group(config=config, teacher=teacher)


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers are spawned, which takes seconds to import everything; a fork has it all."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)
    yield
    stop_workers()


def members(count: int) -> list[Member]:
    return [
        Member(
            name=f"m{i}",
            seed=i // 2,
            hyper={"lr": 0.01, "weight_decay": 0.0, "temperature": 1.0 + i, "alpha": 0.1 * i},
        )
        for i in range(count)
    ]


def with_train(group: Group, **changes: object) -> Group:
    train = dataclasses.replace(group.config.train, **changes)
    return dataclasses.replace(group, config=dataclasses.replace(group.config, train=train))


def test_one_process_two_processes_and_one_network_agree(group: Group) -> None:
    two = workers(2)
    quiet = Quiet()
    apart = two.train(group, members(5), quiet)
    assert set(apart) == {f"m{i}" for i in range(5)}
    assert quiet.steps[-1][0] == quiet.steps[-1][1]
    heard = [(epoch, name) for epoch, names in quiet.epochs for name in names]
    assert sorted(heard) == [(epoch, f"m{i}") for epoch in range(2) for i in range(5)]
    grouped = train_group(with_train(group, fuse="grouped"), members(5), Quiet())
    for i in (0, 3, 4):
        (member,) = members(5)[i : i + 1]
        solo = train_group(group, [member], Quiet())[member.name]
        assert_same(solo, apart[member.name])
        assert_same(solo, grouped[member.name])


def test_the_parent_decides_who_leaves(group: Group) -> None:
    two = workers(2)
    results = two.train(group, members(4), Quiet({"m1": "pruned", "m2": "pruned"}))
    assert {name: trained.status for name, trained in results.items()} == {
        "m0": "finished", "m1": "dropped", "m2": "dropped", "m3": "finished",
    }  # fmt: skip
    assert results["m1"].reason == "pruned"
    assert len(results["m2"].history) == 1


def test_every_loss_takes_float64(group: Group) -> None:
    crd = DistillConfig(losses={"crd": {"dimensions": 4, "negatives": 5}})
    config = dataclasses.replace(group.config, distill=crd)
    results = train_group(dataclasses.replace(group, config=config), members(1), Quiet())
    assert results["m0"].status == "finished"


def test_a_teacher_that_was_trained_anew_has_a_bank_of_its_own(
    group: Group, tmp_path: Path
) -> None:
    def banks() -> set[str]:
        return {path.name for path in (Path(group.config.root) / "store" / "bank").iterdir()}

    train_group(with_train(group, epochs=1), members(1), Quiet())
    before = banks()
    torch.manual_seed(2)
    model = create_model(group.config.pair.teacher, classes=10, image_size=SIZE)
    save_file(model.state_dict(), tmp_path / WEIGHTS)
    assert group.teacher is not None
    anew = dataclasses.replace(group.teacher, folder=tmp_path)  # found by the same key
    train_group(
        with_train(dataclasses.replace(group, teacher=anew), epochs=1), members(1), Quiet()
    )
    assert len(banks()) == len(before) + 1


def test_what_a_worker_cannot_do_is_the_users_line(group: Group) -> None:
    two = workers(2)
    missing = dataclasses.replace(group.config.data, train_limit=10**6)
    config = dataclasses.replace(group.config, data=missing)
    with pytest.raises(UserError, match=r"^data.train_limit=1000000: there are"):
        two.train(dataclasses.replace(group, config=config), members(2), Quiet())
    assert not any(process.is_alive() for process in two.processes)


class Killing(Quiet):
    """An observer that kills a worker after its first epoch."""

    def __init__(self, started: Workers) -> None:
        super().__init__()
        self.started = started

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        pid = self.started.processes[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.started.processes[0].join(10)
        return {}


def test_a_worker_that_is_killed_is_told(group: Group) -> None:
    two = workers(2)
    with pytest.raises(TrainingError, match=r"died \(exit code -9, killed: perhaps out of mem"):
        two.train(group, members(2), Killing(two))
    assert not any(process.is_alive() for process in two.processes)
    assert workers(2) is not two


def test_a_worker_that_died_while_it_waited_is_told(group: Group) -> None:
    two = workers(2)
    two.processes[1].kill()
    two.processes[1].join(10)
    with pytest.raises(TrainingError, match="a training process died"):
        two.train(group, members(2), Quiet())


def test_when_the_parent_stops_the_workers_stop(group: Group) -> None:
    class Stopping(Quiet):
        def epoch(self, *given: object) -> Mapping[str, str]:
            raise KeyboardInterrupt

    two = workers(2)
    with pytest.raises(KeyboardInterrupt):
        two.train(group, members(2), Stopping())
    assert not any(process.is_alive() for process in two.processes)
    assert workers(2).train(group, members(1), Quiet())["m0"].status == "finished"


@pytest.mark.parametrize(
    ("count", "parts", "sizes"),
    [(5, 2, [2, 3]), (25, 4, [6, 6, 6, 7]), (2, 4, [1, 1]), (3, 3, [1, 1, 1]), (1, 8, [1])],
)
def test_parts_are_balanced_and_complete(count: int, parts: int, sizes: list[int]) -> None:
    made = split(members(count), parts)
    assert sorted(map(len, made)) == sorted(sizes)
    assert [m.name for part in made for m in part] == [f"m{i}" for i in range(count)]


def test_results_travel_whole() -> None:
    trained = Trained(
        name="a",
        seed=3,
        status="finished",
        history=[{"train_loss": 0.1}],
        state={"w": torch.randn(2, 3), "n": torch.tensor(4)},
        logits=torch.randn(5, 2, dtype=torch.float64),
        seconds=1.5,
    )
    back = unpack(pack(trained))
    for field in dataclasses.fields(Trained):
        if field.name not in ("state", "logits"):
            assert getattr(back, field.name) == getattr(trained, field.name)
    assert all(torch.equal(back.state[name], value) for name, value in trained.state.items())
    assert back.logits is not None
    assert trained.logits is not None
    assert torch.equal(back.logits, trained.logits)
    dropped = Trained(name="b", seed=0, status="dropped", reason="pruned")
    assert unpack(pack(dropped)) == dropped


def test_no_worker_hears_ctrl_c_not_even_the_first_of_a_process() -> None:
    code = (
        "import os, signal\n"
        "from kdsweep.run.workers import Workers\n"
        "made = Workers(2)\n"
        "for process in made.processes:\n"
        "    os.kill(process.pid, signal.SIGINT)\n"
        "for process in made.processes:\n"
        "    process.join(2)\n"
        "print([process.exitcode for process in made.processes])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == ("[None, None]\n", "")
