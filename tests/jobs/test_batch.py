"""What becomes of jobs whose baselines or students can't be trained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdsweep.errors import TrainingError
from kdsweep.jobs import batch, shared, training
from kdsweep.jobs.plan import plan
from kdsweep.results.cells import cells_of
from kdsweep.results.record import FAILED, find_record, read_record
from kdsweep.train.interfaces import Trained
from tests.jobs.trained import job, train

FIRST = 1_000_000
REASON = "the loss is nan in epoch 1"


pytestmark = pytest.mark.usefixtures("composing")


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Let the members of one population that have a seed diverge in their first epoch."""
    chosen: list[tuple[str, int]] = []
    plain = training.train_members

    async def trained(*given: Any, title: str, **more: Any) -> dict[str, Trained]:
        kind = title.partition(" ")[0]
        return {
            name: dataclasses.replace(one, status="diverged", reason=REASON, state={}, logits=None)
            if (kind, one.seed) in chosen
            else one
            for name, one in (await plain(*given, title=title, **more)).items()
        }

    for module in (batch, shared):
        monkeypatch.setattr(module, "train_members", trained)
    return lambda kind, seed: chosen.append((kind, seed))


def test_a_baseline_seed_that_diverges_leaves_its_jobs_alive(
    tmp_path: Path, diverging: Callable[[str, int], None]
) -> None:
    diverging("baseline", FIRST + 1)
    (outcome,) = train([job(tmp_path, "verdict.baseline_seeds=3")])
    assert outcome.error is None
    assert outcome.record is not None
    assert outcome.record.state == "complete"
    assert [one.seed for one in outcome.record.baselines] == [FIRST, FIRST + 1, FIRST + 2]
    scores = [one.metrics.get("val_accuracy", math.nan) for one in outcome.record.baselines]
    assert [math.isnan(score) for score in scores] == [False, True, False]
    (cell,) = cells_of([outcome.record])
    assert not cell.baselines[FIRST + 1].metrics
    metrics = outcome.record.seeds[0].metrics
    alone = (scores[0] + scores[2]) / 2
    assert metrics["delta_vs_baseline"] == pytest.approx(metrics["val_accuracy"] - alone)


def test_jobs_of_which_every_baseline_diverges_fail_with_a_record(
    tmp_path: Path, diverging: Callable[[str, int], None]
) -> None:
    for seed in (FIRST, FIRST + 1):
        diverging("baseline", seed)
    own = job(tmp_path, "verdict.baseline_seeds=2", "seeds=2")
    (outcome,) = train([own])
    assert isinstance(outcome.error, TrainingError)
    assert f"the baseline could not be trained: {REASON}" in str(outcome.error)
    left = read_record(own.folder)
    assert (left.state, left.values, left.reason) == (FAILED, (), str(outcome.error))
    assert [one.status for one in left.seeds.values()] == ["failed", "failed"]
    assert not any(one.metrics for one in left.baselines)
    assert not left.settled
    assert not list(own.folder.glob("student-*"))  # what it would be compared with is missing


def test_a_job_with_a_seed_that_diverges_has_failed(
    tmp_path: Path, diverging: Callable[[str, int], None]
) -> None:
    diverging("student", 1)
    jobs = [job(tmp_path, "seeds=2"), job(tmp_path, "distill.temperature=2")]
    broken, sound = train(jobs)
    assert isinstance(broken.error, TrainingError)
    assert str(broken.error) == f"seed 1: {REASON}"
    left = read_record(jobs[0].folder)
    assert (left.state, left.values, left.reason) == (FAILED, (), f"seed 1: {REASON}")
    assert [left.seeds[seed].status for seed in (0, 1)] == ["finished", "diverged"]
    assert left.seeds[0].metrics["val_accuracy"] > 0
    assert left.seeds[1].metrics == {}
    assert (jobs[0].folder / "student-seed0.safetensors").is_file()
    assert not (jobs[0].folder / "student-seed1.safetensors").exists()
    assert sound.error is None
    assert sound.record == find_record(jobs[1].folder)
    with pytest.raises(TrainingError, match=REASON):
        _ = broken.value


def test_a_baseline_that_diverges_fails_its_own_jobs_alone(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "teacher.lr=1e-3", f"train.optimizer.lr={lr}") for lr in ("1e25", "1e-3")
    ]
    assert len(plan(jobs)) == 1
    broken, sound = train(jobs)
    assert isinstance(broken.error, TrainingError)
    assert "the baseline could not be trained: the loss is " in str(broken.error)
    assert "lower train.optimizer.lr" in str(broken.error)
    assert sound.error is None
    assert sound.record is not None
    assert sound.record.state == "complete"
    (again,) = train(jobs[1:])
    assert again.error is None


def test_a_teacher_that_diverges_fails_every_job_with_a_record(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "teacher.lr=1e25", f"distill.temperature={t}") for t in (2, 3)]
    outcomes = train(jobs)
    for own, outcome in zip(jobs, outcomes, strict=True):
        assert isinstance(outcome.error, TrainingError)
        assert "the teacher could not be trained" in str(outcome.error)
        left = read_record(own.folder)
        assert (left.state, left.reason, left.baselines) == (FAILED, str(outcome.error), ())


@pytest.mark.parametrize("trial", [None, 0])
def test_students_alone_are_baselines_of_their_seeds(
    tmp_path: Path, diverging: Callable[[str, int], None], trial: int | None
) -> None:
    """In a sweep they are compared as any cell is; alone there is nothing to compare them with."""
    diverging("baseline", 1)
    own = job(tmp_path, "distill=none", "seeds=2")
    own = dataclasses.replace(own, config=dataclasses.replace(own.config, trial=trial))
    (outcome,) = train([own])
    left = read_record(own.folder)
    assert [left.seeds[seed].status for seed in (0, 1)] == ["finished", "failed"]
    assert left.state == FAILED
    assert REASON in str(outcome.error)
    assert [one.seed for one in left.baselines] == ([] if trial is None else [FIRST, FIRST + 1])
    assert ("delta_vs_baseline" in left.seeds[0].metrics) == (trial is not None)


def test_baseline_and_student_are_judged_by_averages_of_the_same_training(tmp_path: Path) -> None:
    given = ("distill=label_smoothing", "train.epochs=2")
    plain, averaged = train([job(tmp_path, *given), job(tmp_path, *given, "evaluate.ema=0.9")])
    assert plain.record is not None
    assert averaged.record is not None
    own, other = plain.record.seeds[0], averaged.record.seeds[0]
    losses = [[epoch["train_loss"] for epoch in seed.history] for seed in (own, other)]
    assert losses[0] == losses[1]
    assert own.metrics["val_nll"] != other.metrics["val_nll"]
    (last,), (average,) = plain.record.baselines, averaged.record.baselines
    for one in (own, last):  # every evaluation image is in a bin of confidence
        assert sum(b.images for b in one.reliability) == plain.record.images
        right = sum(b.images * b.right for b in one.reliability) / plain.record.images
        assert right == pytest.approx(one.metrics["val_accuracy"])
    assert last.key != average.key
    assert last.metrics["val_nll"] != average.metrics["val_nll"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_record_keeps_no_password(
    tmp_path: Path, diverging: Callable[[str, int], None], fails: bool
) -> None:
    """It is copied to MLflow and into reports."""
    if fails:
        diverging("baseline", FIRST)
    storage = "storage=postgresql+psycopg2://me:s3cret@host/db"
    own = job(tmp_path, storage, "tracking.uri=http://me:s3cret@host:5000")
    train([own])
    text = (own.folder / "result.json").read_text()
    assert "s3cret" not in text
    assert text.count("me:***@host") == 4
    assert read_record(own.folder).state == (FAILED if fails else "complete")
