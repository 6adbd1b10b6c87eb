from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from kdsweep.config import Config, DistillConfig, PrunerConfig, TrainConfig
from kdsweep.jobs.job import Job
from kdsweep.sweeper.opening import open_storage
from kdsweep.sweeper.pruning import Pruning, create_pruner, create_pruning


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", optuna.pruners.NopPruner),
        ("median", optuna.pruners.MedianPruner),
        ("asha", optuna.pruners.SuccessiveHalvingPruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
        ("wilcoxon", optuna.pruners.WilcoxonPruner),
    ],
)
def test_each_name_is_optunas_pruner(name: str, kind: type) -> None:
    assert type(create_pruner(PrunerConfig(name=name), epochs=9)) is kind


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Four jobs of two seeds whose trials are running under a median pruner."""
    storage = f"sqlite:///{tmp_path}/optuna.db"
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
    made = []
    for number in range(4):
        study.ask()
        config = Config(
            study="s",
            trial=number,
            storage=storage,
            seeds=2,
            distill=DistillConfig(losses={"hinton": {"weight": 1.0}}),
            train=TrainConfig(epochs=3),
            pruner=PrunerConfig(name="median", startup_trials=0, warmup_epochs=0),
        )
        made.append(Job(config=config, folder=tmp_path / str(number), overrides=()))
    return made


def pruning_of(jobs: list[Job]) -> Pruning:
    """Of the storage that a sweep has open."""
    create = create_pruning(open_storage(jobs[0].config.storage))
    pruning = create(jobs, "val_accuracy")
    assert isinstance(pruning, Pruning)
    return pruning


def report(pruning: Pruning, jobs: list[Job], epoch: int, values: list[float]) -> dict[str, str]:
    records = {
        job.member(seed): {"val_accuracy": value + seed}
        for job, value in zip(jobs, values, strict=True)
        for seed in job.seeds
    }
    return pruning.epoch(epoch, records)


def finish(jobs: list[Job], values: list[float]) -> None:
    study = optuna.load_study(study_name="s", storage=jobs[0].config.storage)
    for job, value in zip(jobs, values, strict=True):
        assert job.config.trial is not None
        study.tell(job.config.trial, value, state=TrialState.COMPLETE)


def test_a_trial_reports_the_mean_of_its_seeds_from_epoch_1(jobs: list[Job]) -> None:
    pruning = pruning_of(jobs[:1])
    assert report(pruning, jobs[:1], 0, [50.0]) == {}
    study = optuna.load_study(study_name="s", storage=jobs[0].config.storage)
    assert study.trials[0].intermediate_values == {1: 50.5}


def test_a_trial_waits_for_all_of_its_seeds(jobs: list[Job]) -> None:
    first, second = (jobs[0].member(seed) for seed in jobs[0].seeds)
    pruning = pruning_of(jobs[:1])
    assert pruning.epoch(0, {first: {"val_accuracy": 1.0}}) == {}
    study = optuna.load_study(study_name="s", storage=jobs[0].config.storage)
    assert study.trials[0].intermediate_values == {}
    pruning.epoch(0, {second: {"val_accuracy": 3.0}})
    assert study.trials[0].intermediate_values == {1: 2.0}


def test_what_is_below_the_median_leaves_with_all_its_seeds(jobs: list[Job]) -> None:
    report(pruning_of(jobs[:3]), jobs[:3], 0, [40.0, 50.0, 60.0])
    finish(jobs[:3], [40.0, 50.0, 60.0])
    pruning = pruning_of(jobs[3:])
    leaving = report(pruning, jobs[3:], 0, [45.0])
    assert set(leaving) == {jobs[3].member(seed) for seed in jobs[3].seeds}
    assert set(leaving.values()) == {"pruned after epoch 1 at val_accuracy 45.50"}


def test_what_is_above_the_median_stays(jobs: list[Job]) -> None:
    report(pruning_of(jobs[:3]), jobs[:3], 0, [40.0, 50.0, 60.0])
    finish(jobs[:3], [40.0, 50.0, 60.0])
    assert report(pruning_of(jobs[3:]), jobs[3:], 0, [55.0]) == {}


def test_the_last_epoch_prunes_nobody(jobs: list[Job]) -> None:
    pruning = pruning_of(jobs[:3])
    for epoch in range(3):
        report(pruning, jobs[:3], epoch, [40.0, 50.0, 60.0])
    finish(jobs[:3], [40.0, 50.0, 60.0])
    assert report(pruning_of(jobs[3:]), jobs[3:], 2, [1.0]) == {}


def test_a_job_in_other_hands_opens_its_study_by_itself(jobs: list[Job]) -> None:
    pruning = create_pruning()(jobs[:1], "val_accuracy")
    first, second = (jobs[0].member(seed) for seed in jobs[0].seeds)
    pruning.epoch(0, {first: {"val_accuracy": 1.0}, second: {"val_accuracy": 3.0}})
    study = optuna.load_study(study_name="s", storage=jobs[0].config.storage)
    assert [trial.intermediate_values for trial in study.trials[:2]] == [{1: 2.0}, {}]
