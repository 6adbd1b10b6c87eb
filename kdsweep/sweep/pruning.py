"""Early stopping: trials report each epoch to their study, and its pruner sends some home."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import Trial

from kdsweep.config import Config, PrunerConfig
from kdsweep.run.job import Job
from kdsweep.sweep.opening import open_storage


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
        jobs: of one study, with their trial numbers.
        metric: the name of the metric that is reported.
    """

    def __init__(self, jobs: Sequence[Job], metric: str) -> None:
        config = jobs[0].config
        self.metric = metric
        self.epochs = config.train.epochs
        self.trials = _trials(config, jobs)
        self.job_of = {job.member(seed): job for job in jobs for seed in job.seeds}
        self.waiting: dict[tuple[int, int], dict[str, float]] = {}
        self.leaving: dict[str, str] = {}

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        """Hear the metrics of some members after ``epoch`` (from 0); who leaves, and why."""
        complete: list[tuple[Job, float]] = []
        for name, record in records.items():
            job = self.job_of[name]
            number = job.config.trial
            assert number is not None
            heard = self.waiting.setdefault((number, epoch), {})
            heard[name] = record[self.metric]
            if len(heard) == len(job.seeds):
                complete.append((job, sum(heard.values()) / len(heard)))
        if epoch + 1 < self.epochs:
            for job, value in complete:  # all report before any is judged
                self.trials[job.config.trial].report(value, epoch + 1)
            for job, value in complete:
                if self.trials[job.config.trial].should_prune():
                    reason = f"pruned after epoch {epoch + 1} at {self.metric} {value:.2f}"
                    self.leaving.update({job.member(seed): reason for seed in job.seeds})
        return {name: self.leaving[name] for name in records if name in self.leaving}


def _trials(config: Config, jobs: Sequence[Job]) -> dict[int | None, Trial]:
    assert config.study is not None
    study = optuna.load_study(
        study_name=config.study,
        storage=open_storage(config.storage),
        sampler=optuna.samplers.RandomSampler(),  # the study's own would draw again
        pruner=create_pruner(config.pruner, config.train.epochs),
    )
    wanted = {job.config.trial for job in jobs}
    return {
        frozen.number: Trial(study, frozen._trial_id)
        for frozen in study.get_trials(deepcopy=False)
        if frozen.number in wanted
    }
