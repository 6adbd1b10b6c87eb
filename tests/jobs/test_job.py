from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdsweep.config import (
    Config,
    DistillConfig,
    ModelConfig,
    OptimizerConfig,
    PairConfig,
    ScheduleConfig,
    TeacherConfig,
    TrainConfig,
    VerdictConfig,
)
from kdsweep.errors import TrainingError, UserError
from kdsweep.jobs.grouping import group_jobs, group_key, numbers, why_apart
from kdsweep.jobs.job import Job, Outcome
from kdsweep.losses.registry import is_number
from tests.results.made import record


def config(losses: dict[str, dict[str, Any]] | None = None, **changes: Any) -> Config:
    distill = DistillConfig(losses={"hinton": {"weight": 1.0}} if losses is None else losses)
    return dataclasses.replace(Config(distill=distill), **changes)


def train(**optimizer: Any) -> TrainConfig:
    return TrainConfig(optimizer=OptimizerConfig(**optimizer))


GIVEN = TeacherConfig(checkpoint="teacher.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"distill": DistillConfig(temperature=2.0, losses={"hinton": {"weight": 1.0}})},
        {"distill": DistillConfig(alpha=0.1, losses={"hinton": {"weight": 1.0}})},
        {"distill": DistillConfig(losses={"hinton": {"weight": 0.3}})},
        {"distill": DistillConfig(losses={"hinton": {"weight": 3}})},
        {"seed": 5},
        {"seeds": 3},
        {"rounds": 2},
        {"round": 3},
        {"verdict": VerdictConfig(baseline_seeds=7, margin=1.0)},
        {"study": "other"},
        {"trial": 4},
    ],
)
def test_numbers_and_seeds_train_together(changes: dict[str, Any]) -> None:
    assert group_key(config(**changes)) == group_key(config())


@pytest.mark.parametrize("optimizer", [{"lr": 0.1}, {"weight_decay": 0.1}])
def test_learning_rates_train_together_where_they_do_not_make_the_teacher(
    optimizer: dict[str, Any],
) -> None:
    def together(**common: Any) -> bool:
        changed = config(train=train(**optimizer), **common)
        return group_key(changed) == group_key(config(**common))

    assert together(losses={})
    assert together(losses={"label_smoothing": {}})
    assert together(teacher=GIVEN)
    # The teacher is trained with these very settings: on their own, the two have two teachers.
    assert not together()


@pytest.mark.parametrize(
    "changes",
    [
        {"train": TrainConfig(epochs=3)},
        {"train": TrainConfig(clip_norm=1.0)},
        {"train": train(name="sgd")},
        {"train": train(momentum=0.5)},
        {"schedule": ScheduleConfig(name="cosine")},
        {"pair": PairConfig(student=ModelConfig(width=2.0))},
        {"teacher": TeacherConfig(seed=1)},
        {"root": "elsewhere"},
        {"losses": {}},
        {"losses": {"dkd": {"weight": 1.0}}},
        {"losses": {"hinton": {"weight": 1.0}, "dist": {"weight": 1.0}}},
    ],
)
def test_everything_else_trains_apart(changes: dict[str, Any]) -> None:
    assert group_key(config(**changes)) != group_key(config())


@pytest.mark.parametrize(
    ("loss", "option", "one", "other"),
    [
        ("infonce", "dimensions", 16, 32),
        ("crd", "negatives", 16, 32),
        ("dkd", "standardize", True, False),
        ("fitnet", "student_taps", ["block1"], ["block2"]),
    ],
)
def test_options_that_shape_a_loss_train_apart(
    loss: str, option: str, one: object, other: object
) -> None:
    first = config({loss: {"weight": 1.0, option: one}})
    assert group_key(first) != group_key(config({loss: {"weight": 1.0, option: other}}))
    assert group_key(first) == group_key(config({loss: {"weight": 2.0, option: one}}))
    assert numbers(first).keys() == {
        "lr",
        "weight_decay",
        "temperature",
        "alpha",
        f"{loss}.weight",
    }
    assert not is_number(loss, option, one)


def test_numbers_of_a_member() -> None:
    made = config(
        {"dkd": {"weight": 2, "target_weight": 0.5, "standardize": True}},
        train=train(lr=0.2, weight_decay=0.03),
    )
    assert numbers(made) == {
        "lr": 0.2,
        "weight_decay": 0.03,
        "temperature": 4.0,
        "alpha": 0.7,
        "dkd.weight": 2.0,
        "dkd.target_weight": 0.5,
    }


def test_grouping_does_not_change_a_config() -> None:
    made = config()
    before = dataclasses.asdict(made)
    group_key(made)
    assert dataclasses.asdict(made) == before


def test_an_unknown_loss_is_the_users_line() -> None:
    with pytest.raises(UserError, match=r"distill.losses.hintn: .*did you mean hinton\?"):
        group_key(config({"hintn": {"weight": 1.0}}))


def test_groups_keep_the_order_of_the_jobs(tmp_path: Path) -> None:
    configs = [
        config(),
        config(schedule=ScheduleConfig(name="cosine")),
        config(seed=9),
        config({"dkd": {}}),
        config(schedule=ScheduleConfig(name="cosine"), seed=1),
    ]
    jobs = [Job(config=c, folder=tmp_path / str(i)) for i, c in enumerate(configs)]
    groups = group_jobs(jobs)
    assert [[int(job.folder.name) for job in group] for group in groups] == [[0, 2], [1, 4], [3]]


def test_a_jobs_seeds_and_members(tmp_path: Path) -> None:
    job = Job(config=config(seed=4, seeds=3), folder=tmp_path / "0")
    other = Job(config=config(seed=4, seeds=3), folder=tmp_path / "1")
    assert list(job.seeds) == [4, 5, 6]
    names = {each.member(seed) for each in (job, other) for seed in each.seeds}
    assert len(names) == 6
    assert not job.is_baseline
    assert Job(config=config({}), folder=tmp_path).is_baseline


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"seeds": 3}, range(1_000_000, 1_000_003)),
        ({"seeds": 3, "seed": 90}, range(1_000_000, 1_000_003)),
        ({"verdict": VerdictConfig(baseline_seeds=5)}, range(1_000_000, 1_000_005)),
        (
            {"seeds": 2, "verdict": VerdictConfig(first_baseline_seed=1_000_009)},
            range(1_000_009, 1_000_011),
        ),
        ({"losses": {}, "seeds": 3}, range(0)),  # is the baseline itself
        ({"losses": {}, "seeds": 3, "trial": 0}, range(1_000_000, 1_000_003)),  # of a sweep
    ],
)
def test_a_baselines_seeds_are_its_own(
    tmp_path: Path, given: dict[str, Any], expected: range
) -> None:
    job = Job(config=config(**given), folder=tmp_path)
    assert job.baseline_seeds == expected
    assert not set(job.seeds) & set(job.baseline_seeds)


def test_what_an_outcome_gives() -> None:
    assert Outcome(record=record(0, [91.5])).value == 91.5
    assert Outcome(record=record(0, [91.5], values=(91.5, 0.3))).value == [91.5, 0.3]
    with pytest.raises(TrainingError, match="diverged"):
        _ = Outcome(record=record(0, [math.nan]), error=TrainingError("diverged")).value
    with pytest.raises(TrainingError, match="lost"):
        _ = Outcome(error=TrainingError("lost")).value


def test_importing_jobs_is_cheap() -> None:
    code = (
        "import sys, kdsweep.jobs.job; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_teacher_with_its_own_numbers_is_shared_by_students_of_all_rates() -> None:
    def key(rate: float, decay: float, /, **own: float) -> str:
        optimizer = OptimizerConfig(lr=rate, weight_decay=decay)
        made = config({"hinton": {"weight": 1.0}}, train=TrainConfig(optimizer=optimizer))
        return group_key(dataclasses.replace(made, teacher=TeacherConfig(**own)))

    assert key(0.1, 0.0) != key(0.2, 0.0)
    assert key(0.1, 0.0, lr=0.3) == key(0.2, 0.0, lr=0.3)
    assert key(0.1, 0.0, lr=0.3) != key(0.1, 0.1, lr=0.3)
    assert key(0.1, 0.0, lr=0.3, weight_decay=0.0) == key(0.2, 0.1, lr=0.3, weight_decay=0.0)
    assert key(0.1, 0.0, lr=0.3) != key(0.1, 0.0, lr=0.4)


def test_what_keeps_jobs_apart_is_named(tmp_path: Path) -> None:
    one, other = config(), config({"dkd": {"weight": 1.0}})
    jobs = [[Job(config=made, folder=tmp_path)] for made in (one, other)]
    assert "distill.losses" in why_apart(jobs)
    longer = dataclasses.replace(one, train=dataclasses.replace(one.train, epochs=7), seed=4)
    jobs = [[Job(config=made, folder=tmp_path)] for made in (one, longer)]
    assert why_apart(jobs) == "train.epochs"
