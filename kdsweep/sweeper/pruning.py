"""Early stopping: trials report each epoch to their study, and its pruner sends some home."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.storages import BaseStorage
from optuna.trial import Trial

from kdsweep.config import Config, PrunerConfig
from kdsweep.jobs.batch import CreatePruning
from kdsweep.jobs.job import Job
from kdsweep.sweeper.opening import open_storage


def create_pruner(config: PrunerConfig, epochs: int) -> optuna.pruners.BasePruner:
    """Optuna's pruner of that name; steps are epochs, counted from 1."""
    if config.name == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=config.startup_trials, n_warmup_steps=config.warmup_epochs
        )
    if config.name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=config.min_epochs, reduction_factor=config.reduction_factor
        )
    if config.name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=config.min_epochs,
            max_resource=epochs,
            reduction_factor=config.reduction_factor,
        )
    if config.name == "wilcoxon":
        with warnings.catch_warnings():  # the user has chosen it by name
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.pruners.WilcoxonPruner(p_threshold=config.p_threshold)
    assert config.name == "none", config.name
    return optuna.pruners.NopPruner()


class Pruning:
    """The trials of one batch, as their study's pruner sees them.

    A trial reports the mean over its seeds, once all of them have finished the epoch; then all
    of its seeds leave, or none does. The last epoch is never pruned: nothing would be saved.

    Args:
        trials: by number.
        jobs: of one study, with their trial numbers.
        metric: the name of the metric that is reported.
    """

    def __init__(self, trials: Mapping[int, Trial], jobs: Sequence[Job], metric: str) -> None:
        self.metric = metric
        self.epochs = jobs[0].config.train.epochs
        self.trials = trials
        self.job_of = {job.member(seed): job for job in jobs for seed in job.seeds}
        self.waiting: dict[tuple[int, int], dict[str, float]] = {}  # by trial and epoch
        self.leaving: dict[str, str] = {}

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        """Take the metrics of some members after ``epoch`` (from 0); who leaves, and why."""
        complete: list[tuple[Job, float]] = []
        for name, record in records.items():
            job = self.job_of[name]
            values = self.waiting.setdefault((_number(job), epoch), {})
            values[name] = record[self.metric]
            if len(values) == len(job.seeds):
                complete.append((job, sum(values.values()) / len(values)))
        if epoch + 1 < self.epochs:
            for job, value in complete:  # all report before any is judged
                self.trials[_number(job)].report(value, epoch + 1)
            for job, value in complete:
                if self.trials[_number(job)].should_prune():
                    reason = f"pruned after epoch {epoch + 1} at {self.metric} {value:.2f}"
                    self.leaving.update({job.member(seed): reason for seed in job.seeds})
        return {name: self.leaving[name] for name in records if name in self.leaving}


def _number(job: Job) -> int:
    assert job.config.trial is not None
    return job.config.trial


def open_trials(
    name: str, storage: BaseStorage, config: Config, numbers: Sequence[int]
) -> dict[int, Trial]:
    """The trials of a study as its pruner wants them."""
    study = optuna.load_study(
        study_name=name,
        storage=storage,
        sampler=optuna.samplers.RandomSampler(),  # the study's own would draw again
        pruner=create_pruner(config.pruner, config.train.epochs),
    )
    study_id = storage.get_study_id_from_name(name)
    return {
        number: Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))
        for number in numbers
    }


def create_pruning(storage: BaseStorage | None = None) -> CreatePruning:
    """What makes the pruning of a batch; a job that runs on its own opens its study itself."""

    def create(jobs: Sequence[Job], metric: str) -> Pruning:
        config = jobs[0].config
        assert config.study is not None
        database = open_storage(config.storage) if storage is None else storage
        trials = open_trials(config.study, database, config, [_number(job) for job in jobs])
        return Pruning(trials, jobs, metric)

    return create
