"""Confirmations of a frozen choice whose trainings are made up: no study, no images."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdsweep.config import Config, DataConfig, TrackingConfig
from kdsweep.confirm import confirmation
from kdsweep.confirm.confirmation import confirm_study
from kdsweep.confirm.selection import Finalist, Selection
from kdsweep.errors import TrainingError, UserError
from kdsweep.jobs.job import Job, Outcome
from kdsweep.results.cells import cells_of
from kdsweep.results.record import Bin, NetworkRecord, Record, write_record
from kdsweep.teachers.stored import save_correct
from tests.results.made import COSTS, record

TRAINED = Config(
    data=DataConfig(name="cifar10", root="mlruns/data"), tracking=TrackingConfig(backend="none")
)
SCORES = {1: [70.5, 71.5, 69.0], 2: [73.0, 74.5, 72.0]}  # on test, by trial
BASELINE = [70.0, 71.0, 69.5, 70.5, 69.0]  # baseline_seeds(3, 2) of them
FIRST_SEED, FIRST_BASELINE = 5, 1_000_040
IMAGES = 200


class Training:
    """Stands in for ``run_plans``: writes the records and bits of all jobs."""

    def __init__(self) -> None:
        self.breaking: set[int] = set()  # trials that end without a record
        self.scores = dict(SCORES)
        self.baselines = {1: ("b", BASELINE), 2: ("b", BASELINE)}  # its key, and its scores
        self.jobs: list[Job] = []

    def plan(self, jobs: Sequence[Job], *_: object) -> Sequence[Job]:
        return jobs

    def __call__(self, session: object, plans: Sequence[Job]) -> dict[Path, Outcome]:
        self.jobs = list(plans)
        return {job.folder: self._run(job) for job in plans}

    def _run(self, job: Job) -> Outcome:
        trial = job.config.trial
        assert trial is not None
        if trial in self.breaking:
            return Outcome(error=TrainingError("the disk is full"))
        made = self._record(job, trial)
        write_record(job.folder, made)
        error = None if made.reason is None else TrainingError(made.reason)
        return Outcome(record=made, error=error)

    def _record(self, job: Job, trial: int) -> Record:
        scores = dict(zip(job.seeds, self.scores[trial], strict=True))
        made = record(
            trial,
            {seed: math.nan if math.isnan(score) else 60.0 for seed, score in scores.items()},
            point={"distill.temperature": trial},
        )
        seeds = {}
        for seed, score in scores.items():
            seeds[seed] = made.seeds[seed]
            if not math.isnan(score):
                metrics = {**seeds[seed].metrics, "test_accuracy": score}
                seeds[seed] = dataclasses.replace(seeds[seed], metrics=metrics)
                save_correct(job.folder, f"test-seed{seed}", right(score))
        key, of_baseline = self.baselines[trial]
        alone = dict(zip(job.baseline_seeds, of_baseline, strict=True))
        for seed, score in alone.items():
            save_correct(job.folder, f"test-baseline-seed{seed}", right(score))
        networks = tuple(
            NetworkRecord(
                key=f"{key}{seed}", name="s", seed=seed, per_class={}, costs=COSTS,
                metrics={"val_accuracy": 60.0, "test_accuracy": score},
            )
            for seed, score in alone.items()
        )  # fmt: skip
        return dataclasses.replace(
            made, seeds=seeds, baselines=networks, config=dataclasses.asdict(job.config)
        )


def right(score: float) -> torch.Tensor:
    """So many percent of the images."""
    return torch.arange(IMAGES) < IMAGES * score / 100


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    made = Training()
    monkeypatch.setattr(confirmation, "plan", made.plan)
    monkeypatch.setattr(confirmation, "run_plans", made)
    return made


def confirm(
    root: Path, config: Config = TRAINED, tracking_uri: str | None = None
) -> dict[str, Any]:
    """Confirm trials 1 and 2, chosen before and trained with ``config``; the verdict's file."""
    folder = root / "confirmations" / "s"
    finalists = tuple(
        Finalist(
            trial=trial,
            point={"distill.temperature": str(trial)},
            value=60.0,
            difference=1.0,
            overrides=(f"distill.temperature={trial}",),
            config=dataclasses.asdict(config),
        )
        for trial in SCORES
    )
    selection = Selection(
        study="s", round=1, chosen="2026-01-01T00:00:00", side="best", first_seed=FIRST_SEED,
        seeds=3, first_baseline_seed=FIRST_BASELINE, finalists=finalists,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    selection.write(folder / "selection.json")
    storage = f"sqlite:///{root}/optuna.db"
    confirm_study(
        "s", storage, root=root, top=2, side="best", seeds=3, again=False,
        tracking_uri=tracking_uri,
    )  # fmt: skip
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return verdict


def test_a_finalist_without_a_record_is_trained_again(tmp_path: Path, training: Training) -> None:
    training.breaking = {2}
    for trained in ([1, 2], [2]):
        with pytest.raises(TrainingError, match=r"^trial 2: the disk is full$"):
            confirm(tmp_path)
        assert [job.config.trial for job in training.jobs] == trained
    training.breaking = set()
    verdict = confirm(tmp_path)
    assert [job.config.trial for job in training.jobs] == [2]
    assert [cell["test_accuracy"] for cell in verdict["cells"]] == list(SCORES.values())


def test_a_seed_that_failed_is_left_out_and_counted(tmp_path: Path, training: Training) -> None:
    training.scores[2] = [73.0, math.nan, 72.0]
    cell = confirm(tmp_path)["cells"][1]
    assert (cell["n"], cell["failed"]) == (2, 1)
    assert cell["difference"] == pytest.approx(72.5 - 70.0)


def test_a_finalist_of_which_every_seed_failed_is_told(tmp_path: Path, training: Training) -> None:
    training.scores[2] = [math.nan] * 3
    with pytest.raises(TrainingError, match=r"^trial 2: no seed .*: seed 5: the loss is nan"):
        confirm(tmp_path)


def test_the_finalists_train_on_fresh_seeds_with_test_open(
    tmp_path: Path, training: Training
) -> None:
    pruned = dataclasses.replace(
        TRAINED, pruner=dataclasses.replace(TRAINED.pruner, name="asha"), round=3
    )
    confirm(tmp_path, pruned)
    for job in training.jobs:
        assert list(job.seeds) == [5, 6, 7]
        assert list(job.baseline_seeds) == list(range(FIRST_BASELINE, FIRST_BASELINE + 5))
        assert job.config.evaluate.test
        assert (job.config.pruner.name, job.config.round) == ("none", 1)
        assert job.config.study == "s-confirmation-1"


def test_finalists_that_share_a_baseline_are_compared_with_it(
    tmp_path: Path, training: Training
) -> None:
    verdict = confirm(tmp_path)
    for cell in verdict["cells"]:
        scores = SCORES[cell["trial"]]
        assert cell["test_accuracy"] == scores
        assert cell["baseline_test_accuracy"] == BASELINE
        assert cell["difference"] == pytest.approx(np.mean(scores) - np.mean(BASELINE))


def test_each_finalist_has_its_own_scores_and_baseline(tmp_path: Path, training: Training) -> None:
    lower = [score - 2 for score in BASELINE]
    training.baselines = {1: ("one", BASELINE), 2: ("other", lower)}
    verdict = confirm(tmp_path)
    for cell in verdict["cells"]:
        assert cell["test_accuracy"] == SCORES[cell["trial"]]
        _, of_baseline = training.baselines[cell["trial"]]
        assert cell["baseline_test_accuracy"] == of_baseline
        gain = np.mean(SCORES[cell["trial"]]) - np.mean(of_baseline)
        assert cell["difference"] == pytest.approx(gain)


def test_the_margin_is_the_sweeps(tmp_path: Path, training: Training) -> None:
    training.scores = {1: [70.0, 70.1, 69.9], 2: [70.1, 70.0, 69.9]}
    training.baselines = dict.fromkeys((1, 2), ("b", [70.0, 70.1, 69.9, 70.0, 70.0]))
    words = [cell["verdict"] for cell in confirm(tmp_path)["cells"]]
    assert words == ["equivalent"] * 2
    narrow = dataclasses.replace(TRAINED, verdict=dataclasses.replace(TRAINED.verdict, margin=0.0))
    words = [cell["verdict"] for cell in confirm(tmp_path / "narrow", narrow)["cells"]]
    assert words == ["open"] * 2


def test_a_study_is_confirmed_once(tmp_path: Path, training: Training) -> None:
    confirm(tmp_path)
    with pytest.raises(
        UserError, match=r"^study=s: was confirmed on 2026-01-01T00:00:00, .*again"
    ):
        confirm(tmp_path)


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


def test_a_password_that_was_not_kept_is_asked_for(tmp_path: Path, training: Training) -> None:
    uri = "postgresql://me:***@host/db"
    hidden = dataclasses.replace(TRAINED.tracking, backend="local", uri=uri)
    config = dataclasses.replace(TRAINED, tracking=hidden)
    with pytest.raises(UserError, match=r"^tracking.uri=.*me:\*\*\*@host/db: its password is not"):
        confirm(tmp_path, config)
    assert training.jobs == []
    given = f"sqlite:///{tmp_path}/runs.db"
    confirm(tmp_path, config, tracking_uri=given)
    assert {job.config.tracking.uri for job in training.jobs} == {given}


def test_mlflow_has_its_verdict_and_its_report(tmp_path: Path, training: Training) -> None:
    from mlflow import MlflowClient

    config = dataclasses.replace(TRAINED, tracking=TrackingConfig())
    training.breaking = {2}
    with pytest.raises(TrainingError, match="the disk is full"):
        confirm(tmp_path, config)
    training.breaking = set()
    lines = confirm(tmp_path, config)["lines"]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "kdsweep"]
    runs = client.search_runs(
        [experiment.experiment_id], "tags.`kdsweep.study` = 's-confirmation-1'"
    )
    (parent,) = [run for run in runs if run.data.tags["kdsweep.kind"] == "sweep"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["kdsweep.verdict"] == lines[0]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith(f"**{lines[0]}**")
    assert "confirm it on fresh seeds" not in note
    assert parent.data.metrics["cells"] == 2
    words = ("better", "worse", "equivalent", "open")
    assert sum(parent.data.metrics[f"cells_{word}"] for word in words) == 2
    there = [file.path for file in client.list_artifacts(parent.info.run_id, "report")]
    assert there == ["report/data", "report/report.html", "report/report.md"]


def test_the_reliability_on_validation_is_not_shown_as_that_on_test() -> None:
    bins = (Bin(number=3, images=7, confidence=25.5, right=20.0),)
    made = record(0, [70.0])
    seeds = {s: dataclasses.replace(one, reliability=bins) for s, one in made.seeds.items()}
    alone = tuple(dataclasses.replace(one, reliability=bins) for one in made.baselines)
    (cell,) = cells_of([dataclasses.replace(made, seeds=seeds, baselines=alone)])
    on_test = confirmation._as_test(cell).last
    assert [one.reliability for one in on_test.seeds.values()] == [()]
    assert {one.reliability for one in on_test.baselines} == {()}
