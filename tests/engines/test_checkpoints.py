"""Teachers, baselines and students that are interrupted go on to the same bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from kdsweep.config import DistillConfig
from kdsweep.engines import checkpoints
from kdsweep.engines.checkpoints import discarding, setting_key
from kdsweep.engines.networks import PopulationSpec
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import plan
from kdsweep.results.record import Record
from kdsweep.store import Store
from kdsweep.teachers.meta import NetworkMeta
from kdsweep.train import loop
from kdsweep.train.checkpoint import Checkpoint, Checkpoints
from kdsweep.train.population import Member
from tests.engines.test_local import Pool
from tests.jobs.trained import job, train
from tests.test_methods import SMALLER
from tests.train.setting import Quiet

SHORT = ("train.epochs=3", "train.checkpoint_every=1", "verdict.baseline_seeds=2")


pytestmark = pytest.mark.usefixtures("composing")


class Interrupts:
    """Stops every population once, in the first step after its first checkpoint."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.wanted = False

    def saving(self) -> Callable[[Checkpoints, Checkpoint], None]:
        """What stands in the place of ``Checkpoints.save``."""

        def save(kept: Checkpoints, made: Checkpoint) -> None:
            plain_save(kept, made)
            if kept.kind not in self.seen:
                self.seen.add(kept.kind)
                self.wanted = True

        return save

    def step(self, *given: Any) -> Any:
        if self.wanted:
            self.wanted = False
            raise KeyboardInterrupt
        return plain_step(*given)


plain_save, plain_step = Checkpoints.save, loop.train_step


@pytest.fixture
def interrupts(monkeypatch: pytest.MonkeyPatch) -> Interrupts:
    made = Interrupts()
    monkeypatch.setattr(Checkpoints, "save", made.saving())
    monkeypatch.setattr(loop, "train_step", made.step)
    return made


def left_over(root: Path) -> list[Path]:
    folder = root / "store" / "checkpoint"
    return list(folder.iterdir()) if folder.is_dir() else []


def content(root: Path, record: Record) -> dict[str, Any]:
    """All that training decides: curves, metrics and weights."""
    weights = {
        f"{path.parent.parent.name}/{path.name}": path.read_bytes()
        for path in sorted(root.glob("store/*/*/*.safetensors"))
    }
    metas = [
        NetworkMeta.from_json(found)
        for path in sorted(root.glob("store/[bt]*/*/"))
        if (found := Store(root).find(path.parent.name, path.name)) is not None
    ]
    own = {path.name: path.read_bytes() for path in sorted(root.glob("job-0/*.safetensors"))}
    return {
        "seeds": {n: (one.status, one.history, one.metrics) for n, one in record.seeds.items()},
        "baselines": [(one.seed, one.metrics) for one in record.baselines],
        "curves": [meta.history for meta in metas if meta is not None],
        "stored": weights,
        "students": own,
    }


def trained_at_last(one: Job) -> tuple[Record, int]:
    """The record of a job that is started until it ends, and how often it was interrupted."""
    for times in range(20):
        try:
            (outcome,) = train([one])
        except KeyboardInterrupt:
            continue
        assert outcome.record is not None
        return outcome.record, times
    raise AssertionError("it gets nowhere")


WAYS = {
    "hinton": (),
    "bf16": ("train.precision=bf16",),
    "float64": ("train.precision=float64",),
    "grouped": ("seeds=2", "train.fuse=grouped"),
    "average": ("evaluate.ema=0.9", "evaluate.last_epochs=2", "schedule=constant"),
    "crd": ("distill=crd", *SMALLER["crd"]),
    "adversarial": ("distill=adversarial",),
    "ctkd": ("distill=ctkd",),
    "reviewkd": ("distill=reviewkd",),
    "data_free": ("distill=data_free", *SMALLER["data_free"]),
    "data_free_adversarial": ("distill=data_free_adversarial", *SMALLER["data_free_adversarial"]),
    "progressive": ("distill=progressive", *SMALLER["progressive"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_job_goes_on_to_the_same_bits(
    tmp_path: Path, way: str, interrupts: Interrupts
) -> None:
    roots = tmp_path / "whole", tmp_path / "interrupted"
    for root in roots:
        root.mkdir()
    whole = job(roots[0], *SHORT, "train.checkpoint_every=0", *WAYS[way])
    (expected,) = train([whole])
    assert expected.record is not None
    record, times = trained_at_last(job(roots[1], *SHORT, *WAYS[way]))
    assert times == (4 if way == "progressive" else 3)  # teacher, baselines, students
    assert content(roots[1], record) == content(roots[0], expected.record)
    assert left_over(roots[1]) == left_over(roots[0]) == []


def specs(folder: Path, *overrides: str) -> PopulationSpec:
    return PopulationSpec(config=job(folder, *overrides).config)


def key_of(one: Job, **changes: Any) -> str:
    (planned,) = plan([one])
    spec = dataclasses.replace(PopulationSpec(config=one.config), **changes)
    return setting_key(spec, planned.dataset, planned.hardware)


ANOTHER = {
    "rate of the schedule": ("schedule=constant",),
    "data": ("data.train_limit=128",),
    "epochs": ("train.epochs=9",),
    "loss": ("distill=dkd",),
    "average": ("evaluate.ema=0.5",),
    "precision": ("train.precision=float64",),
    "momentum": ("train.optimizer.name=sgd",),
    "pruner": ("pruner=asha",),
    "mixup": ("data.views.mixup=0.5",),
    "bank": ("train.bank=false",),
}
THE_SAME = {
    "numbers": ("distill.temperature=2", "distill.alpha=0.7"),
    "seeds": ("seed=5", "seeds=3"),
    "execution": ("train.fuse=grouped", "train.threads=2", "train.checkpoint_every=7"),
    "place": ("study=other", "trial=3"),
}


@pytest.mark.parametrize("what", ANOTHER)
def test_another_setting_has_another_key(tmp_path: Path, what: str) -> None:
    assert key_of(job(tmp_path, *ANOTHER[what])) != key_of(job(tmp_path))


@pytest.mark.parametrize("what", THE_SAME)
def test_members_of_one_setting_are_told_by_their_own_numbers(tmp_path: Path, what: str) -> None:
    assert key_of(job(tmp_path, *THE_SAME[what])) == key_of(job(tmp_path))


def test_a_study_that_prunes_keeps_its_checkpoints_to_itself(tmp_path: Path) -> None:
    one, other = (job(tmp_path, "pruner=asha", f"study={name}") for name in "ab")
    assert key_of(one) != key_of(other)


def test_other_code_and_another_role_have_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(tmp_path)
    before = key_of(one)
    assert key_of(one, role="teacher") != before
    monkeypatch.setattr(checkpoints, "code_version", lambda: "edited")
    assert key_of(one) != before


class KillingLate(Quiet):
    """Kills the worker of m0 when it reports its second epoch."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.killed = False

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        if epoch == 1 and "m0" in records and not self.killed:
            self.killed = True
            self.pool.process_of("m0").kill()
        return super().epoch(epoch, records)


def test_a_worker_in_the_place_of_a_lost_one_goes_on(tmp_path: Path) -> None:
    one = job(tmp_path, *SHORT)
    (planned,) = plan([one])
    spec = PopulationSpec(config=dataclasses.replace(one.config, distill=DistillConfig(alpha=0.0)))
    members = [
        Member(name=f"m{i}", seed=i, hyper={"lr": 0.01, "weight_decay": 0.0}) for i in range(2)
    ]
    pool = Pool()
    killing = KillingLate(pool)
    try:
        with discarding(Store(tmp_path), spec, planned.dataset, planned.hardware, members):
            expected = pool.train(spec, members, Quiet())
            assert len(list(tmp_path.glob("store/checkpoint/*/*/[01]/meta.json"))) == 2
        assert left_over(tmp_path) == []
        trained = pool.train(spec, members, killing)
    finally:
        pool.engine.close()
    assert killing.killed
    assert sorted(epoch for epoch, names in killing.epochs if "m0" in names) == [0, 1, 2]
    for name, other in expected.items():
        assert trained[name].history == other.history
        assert all(torch.equal(v, other.state[k]) for k, v in trained[name].state.items())
