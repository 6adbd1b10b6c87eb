"""Confirmations of a frozen choice whose trainings are made up: no study, no images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kdsweep.config import Config, DataConfig, TrackingConfig
from kdsweep.confirm.confirmation import confirm_study
from kdsweep.errors import TrainingError
from kdsweep.results.record import RECORD
from kdsweep.run import batch as runner
from kdsweep.run.job import Job, Outcome
from kdsweep.store import write_json
from tests.results.test_judgement import record

TRAINED = Config(
    data=DataConfig(name="cifar10", root="mlruns/data"), tracking=TrackingConfig(backend="none")
)
SCORES = {1: [70.5, 71.5, 69.0], 2: [73.0, 74.5, 72.0]}  # on test, by trial
BASELINE = [70.0, 71.0, 69.5]


class Training:
    """Stands in for ``run_jobs``: writes the records of all jobs, and fails the trials named."""

    def __init__(self) -> None:
        self.failing: set[int] = set()
        self.baselines = {1: BASELINE, 2: BASELINE}
        self.jobs: list[Job] = []

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        self.jobs = list(jobs)
        return [self._run(job) for job in jobs]

    def _run(self, job: Job) -> Outcome:
        trial = job.config.trial
        assert trial is not None
        baseline = dict(zip(job.seeds, self.baselines[trial], strict=True))
        scores = dict(zip(job.seeds, SCORES[trial], strict=True))
        made = record(trial, dict.fromkeys(job.seeds, 60.0), baseline)
        for seed in job.seeds:
            made["seeds"][str(seed)]["metrics"] |= {
                "test_accuracy": scores[seed], "test_baseline_accuracy": baseline[seed],
            }  # fmt: skip
        error = None
        if trial in self.failing:
            error = TrainingError(f"seed {job.config.seed}: diverged")
            made |= {"state": "failed", "reason": str(error)}
            made["seeds"][str(job.config.seed)]["metrics"] = {}
        write_json(job.folder / RECORD, made)
        return Outcome(record=made, error=error)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    made = Training()
    monkeypatch.setattr(runner, "run_jobs", made)
    return made


def confirm(root: Path, config: Config = TRAINED) -> dict[str, Any]:
    """Confirm trials 1 and 2, chosen before and trained with ``config``; the verdict's file."""
    folder = root / "confirmations" / "s"
    finalists = [
        {
            "trial": trial,
            "params": {},
            "value": 60.0,
            "difference": 1.0,
            "overrides": [],
            "config": dataclasses.asdict(config),
        }
        for trial in SCORES
    ]
    selection = {
        "study": "s", "storage": config.storage, "round": 1, "chosen": "2026-01-01T00:00:00",
        "first_seed": 5, "seeds": 3, "finalists": finalists,
    }  # fmt: skip
    write_json(folder / "selection.json", selection)
    confirm_study("s", f"sqlite:///{root}/optuna.db", root=root, top=2, seeds=3, again=False)
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return verdict


def test_a_finalist_that_failed_is_trained_again(tmp_path: Path, training: Training) -> None:
    training.failing = {2}
    for trained in ([1, 2], [2]):
        with pytest.raises(TrainingError, match=r"^trial 2: seed 5: diverged$"):
            confirm(tmp_path)
        assert [job.config.trial for job in training.jobs] == trained
    training.failing = set()
    verdict = confirm(tmp_path)
    assert [job.config.trial for job in training.jobs] == [2]
    assert [cell["test_accuracy"] for cell in verdict["cells"]] == list(SCORES.values())


def test_a_baseline_that_finalists_share_is_kept_once(tmp_path: Path, training: Training) -> None:
    verdict = confirm(tmp_path)
    assert verdict["baseline_test_accuracy"] == BASELINE
    assert [cell["test_accuracy"] for cell in verdict["cells"]] == list(SCORES.values())
    assert not any("baseline_test_accuracy" in cell for cell in verdict["cells"])


def test_each_finalist_has_its_own_scores_and_baseline(tmp_path: Path, training: Training) -> None:
    training.baselines = {1: BASELINE, 2: [68.0, 69.0, 67.5]}
    verdict = confirm(tmp_path)
    assert "baseline_test_accuracy" not in verdict
    for cell in verdict["cells"]:
        assert cell["test_accuracy"] == SCORES[cell["trial"]]
        assert cell["baseline_test_accuracy"] == training.baselines[cell["trial"]]
    assert verdict["cells"][1]["difference"] == pytest.approx(5.0)


def test_a_folder_that_was_moved_is_where_the_finalists_train(
    tmp_path: Path, training: Training
) -> None:
    results = tmp_path / "results"
    confirm(results)
    assert {(job.config.root, job.config.storage) for job in training.jobs} == {
        (str(results), f"sqlite:///{results}/optuna.db")
    }
    assert {job.config.data.root for job in training.jobs} == {str(results / "data")}


@pytest.mark.parametrize("kept", [None, "/photos", "mlruns-photos"])
def test_images_outside_of_the_folder_stay_where_they_are(
    kept: str | None, tmp_path: Path, training: Training
) -> None:
    data = dataclasses.replace(TRAINED.data, root=kept)
    confirm(tmp_path, dataclasses.replace(TRAINED, data=data))
    assert {job.config.data.root for job in training.jobs} == {kept}
