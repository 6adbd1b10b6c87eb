"""What jobs share is found or trained once, whatever number of baselines that is."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hydra import compose

from kdsweep.config.typed import typed
from kdsweep.errors import TrainingError
from kdsweep.jobs import shared
from kdsweep.jobs.coroutines import run
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import Plan, plan
from kdsweep.jobs.session import Session
from kdsweep.jobs.shared import Networks, Shared, baseline_key, prepare
from kdsweep.teachers.stored import Found
from tests.test_methods import QUICK

pytestmark = pytest.mark.usefixtures("composing")


def only_plan(root: Path, *overrides: tuple[str, ...]) -> Plan:
    jobs = []
    for number, own in enumerate(overrides):
        (root / str(number)).mkdir(exist_ok=True)
        config = typed(compose("config", [*QUICK, f"root={root}", *own]))
        jobs.append(Job(config=config, folder=root / str(number)))
    (made,) = plan(jobs)
    return made


def networks(made: Plan) -> Networks:
    session = Session(made.config)
    return Networks(session, made, session.logger(made.config, "cpu"))


def shared_by(made: Plan) -> Shared:
    with Session(made.config) as session:
        return run(prepare(session, made, session.logger(made.config, "cpu")))


def test_a_plan_gets_its_teacher_and_each_student_its_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = only_plan(
        tmp_path,
        ("distill.temperature=2", "seeds=2", "teacher.lr=1e-3"),
        ("distill.temperature=4", "seeds=2", "teacher.lr=1e-3"),
        ("train.optimizer.lr=1e25", "seeds=2", "teacher.lr=1e-3"),
    )
    first = shared_by(made)
    assert first.teacher is not None
    assert first.teacher.kind == "teacher"
    assert not first.teacher.found
    two, four, diverging = made.jobs
    seeds = list(two.baseline_seeds)
    assert len(seeds) == 2
    ours, theirs = ([baseline_key(made, job, seed) for seed in seeds] for job in (two, diverging))
    assert ours == [baseline_key(made, four, s) for s in seeds]  # any temperature's
    assert {key: found.meta.seed for key, found in first.baselines.items()} == dict(
        zip(ours, seeds, strict=True)
    )
    assert set(first.broken) == set(theirs)
    assert isinstance(first.broken[theirs[0]], TrainingError)
    assert first.images is None

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(shared, "train_members", never)
    sound = only_plan(tmp_path, ("distill.temperature=3", "seeds=2", "teacher.lr=1e-3"))
    again = shared_by(sound)
    assert again.teacher is not None
    assert again.teacher.found
    assert again.teacher.key == first.teacher.key
    assert again.baselines.keys() == first.baselines.keys()


def test_a_baseline_needs_no_teacher(tmp_path: Path) -> None:
    made = only_plan(tmp_path, ("distill=none",))
    ready = shared_by(made)
    assert ready.teacher is None
    assert [found.meta.seed for found in ready.baselines.values()] == [0]
    assert not (tmp_path / "store" / "teacher").exists()


def test_dreamt_images_are_made_of_the_teacher(tmp_path: Path) -> None:
    small = ("images=32", "batch_size=16", "iterations=1")
    made = only_plan(
        tmp_path, ("distill=deep_inversion", *(f"distill.inversion.{each}" for each in small))
    )
    ready = shared_by(made)
    assert ready.images is not None
    assert ready.images.parent == tmp_path / "store" / "inversion"


def test_two_thousand_baselines_take_few_open_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = only_plan(tmp_path, ("distill=none", "seeds=2000"))
    asked: list[int] = []

    async def train(self: Networks, missing: dict[str, tuple[Job, int]]) -> dict[str, Found]:
        asked.append(len(missing))
        return {}

    monkeypatch.setattr(Networks, "_train_baselines", train)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
    try:
        run(networks(made).baselines())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert asked == [2000]


def test_what_another_process_trains_meanwhile_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = only_plan(tmp_path, ("distill=none", "seeds=2"))
    mine, its = networks(made), networks(made)
    keys = [baseline_key(made, made.jobs[0], seed) for seed in (0, 1)]
    group_locks = mine.store.group_locks

    def after_the_other(kind: str, wanted: list[str]) -> object:
        """The other has trained the first of them by the time that the locks are free."""
        first = {keys[0]: (made.jobs[0], 0)}
        run(its._train_baselines(first))
        return group_locks(kind, wanted)

    monkeypatch.setattr(mine.store, "group_locks", after_the_other)
    found = run(mine.baselines())
    assert {key: found[key].found for key in keys} == {keys[0]: True, keys[1]: False}
