"""The runs of one batch as MLflow sees them, and the progress of the training that feeds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypedDict

from kdsweep.config import Config
from kdsweep.data.device import DeviceDataset
from kdsweep.jobs.environment import environment
from kdsweep.jobs.job import Job
from kdsweep.jobs.logged import (
    as_delta,
    as_yaml,
    dataset_info,
    is_one_of_several,
    job_name,
    last_epoch,
    logged_params,
    mean_history,
    mean_metrics,
    of_seed,
)
from kdsweep.results.record import RECORD, Record
from kdsweep.teachers.stored import Found
from kdsweep.terminal.progress import Progress
from kdsweep.tracking import DatasetInfo, Status, Tracker
from kdsweep.tracking.session import TrackingSession
from kdsweep.train.evaluation import has_diverged

KEY = "kdsweep.key"  # tags the run of a stored network: what it is found by
RESULT = "kdsweep.result"  # tags the runs that are a study's results: cell, baseline

Tags = dict[str, str]


class Opening(TypedDict):
    """What a run is opened with, besides its name and parent."""

    params: dict[str, object]
    tags: Tags
    dataset: DatasetInfo


class RunLogger:
    """Opens, feeds and closes the runs of one study, or of one experiment without a study.

    Args:
        tracking: where runs are logged.
        config: of any job; names the study.
        device: the hardware's name, for the tags.
    """

    def __init__(self, tracking: TrackingSession, config: Config, device: str) -> None:
        self.tracking = tracking
        self.tracker = tracking.tracker
        self.study = config.study
        self.environment = environment(device)
        revision = self.environment.git_revision
        self.tags = {"kdsweep.device": device, "kdsweep.git_revision": revision}
        self.parent: str | None = None
        self.open: list[str] = []
        self.logged: set[str] = set()  # keys of networks that are known to have a run

    def start(self, config: Config, dataset: DeviceDataset) -> None:
        """Open the study's parent run, or find it where another batch has opened it."""
        if self.study is None:
            return
        self.tags["kdsweep.study"] = self.study
        self.parent = self.tracking.open_parent(self.study)
        self.tracker.set_tags(self.parent, self.tags)
        self.tracker.log_dataset(self.parent, dataset_info(config, dataset))
        self.tracking.monitor(self.parent)
        self.logged = self.tracking.networks(self.parent)

    def open_job(self, job: Job, dataset: DeviceDataset) -> dict[int | None, str]:
        """Open a job's runs: by seed, and under None the trial's own, which is the only seed's."""
        tags = {"kdsweep.role": "student", **self._pair_tags(job.config)}
        if job.config.distill.without_images is not None:
            tags["kdsweep.images"] = job.config.distill.without_images
        if job.config.trial is not None:
            tags["kdsweep.trial"] = str(job.config.trial)
        name, config = job_name(job), job.config
        result = {**tags, RESULT: "cell"}
        if len(job.seeds) == 1:
            run = self._open(name, self.parent, config, result, dataset, seed=config.seed)
            if self.parent is None:
                self.tracking.monitor(run)
            return {None: run, config.seed: run}
        trial = self._open(name, self.parent, config, result, dataset, seed=None)
        if self.parent is None:
            self.tracking.monitor(trial)
        runs: dict[int | None, str] = {None: trial}
        for seed in job.seeds:
            own = {**tags, "kdsweep.role": "seed"}
            runs[seed] = self._open(
                f"seed {seed} of {name}", trial, config, own, dataset, seed=seed
            )
        return runs

    def open_network(
        self, kind: str, key: str, config: Config, dataset: DeviceDataset, seed: int
    ) -> str:
        """Open the run of a teacher or baseline that is about to be trained."""
        name, tags = self._network(kind, key, config, seed)
        self.logged.add(key)
        return self._open(name, self.parent, config, tags, dataset, seed=seed)

    def mention(self, found: Found, config: Config, dataset: DeviceDataset) -> None:
        """Log a network that was found, once in each study, with its curve of old.

        Another process may have logged it, or may be about to close its run.
        """
        if found.key in self.logged:
            return
        self.logged.add(found.key)
        name, tags = self._network(found.kind, found.key, config, found.meta.seed)
        tags["kdsweep.found"] = "true"
        opening = self._opening(config, tags, dataset, seed=found.meta.seed)
        if self.parent is None:
            run: str | None = self.tracker.open_run(name, parent=None, **opening)
        else:
            run = self.tracker.open_unique(name, unique=KEY, parent=self.parent, **opening)
        if run is not None:
            self._opened(run, config)
            several = is_one_of_several(found.kind, config)
            history = found.meta.history
            self.tracker.log_history(run, [of_seed(m) for m in history] if several else history)
            self.finish_network(run, found, config)

    def _network(self, kind: str, key: str, config: Config, seed: int) -> tuple[str, Tags]:
        """Name and tags of the run of a teacher or baseline."""
        model = config.pair.teacher if kind == "teacher" else config.pair.student
        tags = {"kdsweep.role": kind, KEY: key, **self._pair_tags(config)}
        return f"{kind} {model.name} seed {seed}", tags

    def finish_network(self, run: str, found: Found, config: Config) -> None:
        """Close the run of a teacher or baseline with what was measured of it."""
        last = len(found.meta.history)
        metrics = {**found.metrics, **found.meta.costs}
        if is_one_of_several(found.kind, config):
            metrics = of_seed(found.metrics)
        self.tracker.log_metrics(run, metrics, step=last)
        self.tracker.log_file(run, found.weights, "checkpoint")
        self.close(run, "finished")

    def finish_job(self, job: Job, record: Record, runs: Mapping[int | None, str]) -> None:
        """Close a job's runs with its metrics, files and state.

        A trial of several seeds has their mean curve; what is of one seed is named so.
        """
        several = len(job.seeds) > 1
        for seed in job.seeds:
            kept = record.seeds[seed]
            own = of_seed(kept.metrics) if several else {**as_delta(kept.metrics), **record.costs}
            self.tracker.log_metrics(runs[seed], own, step=last_epoch(record))
            for path in sorted(job.folder.glob(f"*seed{seed}.*")):
                self.tracker.log_file(runs[seed], path, "checkpoint")
        trial = runs[None]
        self.tracker.log_file(trial, job.folder / RECORD)
        if several and record.values:
            means = {**as_delta(mean_metrics(record)), **record.costs}
            self.tracker.log_metrics(trial, means, step=last_epoch(record))
            curves = [one.history for one in record.seeds.values()]
            self.tracker.log_history(trial, mean_history(curves))
        for seed in job.seeds:
            self.close(runs[seed], _STATES[record.seeds[seed].status], record.seeds[seed].reason)
        if trial in self.open:
            self.close(trial, _STATES[record.state], record.reason)

    def close(self, run: str, status: Status, reason: str | None = None) -> None:
        """Close one run."""
        self.tracker.close(run, status, reason=reason)
        if run in self.open:
            self.open.remove(run)

    def close_all(self, status: Status, reason: str) -> None:
        """Close whatever is still open, the latest first."""
        for run in reversed(self.open.copy()):
            self.close(run, status, reason)

    def _open(
        self,
        name: str,
        parent: str | None,
        config: Config,
        tags: Tags,
        dataset: DeviceDataset,
        *,
        seed: int | None,
    ) -> str:
        opening = self._opening(config, tags, dataset, seed=seed)
        run = self.tracker.open_run(name, parent=parent, **opening)
        self._opened(run, config)
        return run

    def _opened(self, run: str, config: Config) -> None:
        self.open.append(run)
        self.tracker.log_text(run, as_yaml(config), "config.yaml")

    def _opening(
        self, config: Config, tags: Tags, dataset: DeviceDataset, *, seed: int | None
    ) -> Opening:
        params, tags = logged_params(config), {**self.tags, **tags}
        if seed is not None:
            params["seed"], tags["kdsweep.seed"] = seed, str(seed)
        return Opening(params=params, tags=tags, dataset=dataset_info(config, dataset))

    @staticmethod
    def _pair_tags(config: Config) -> dict[str, str]:
        losses = "+".join(config.distill.losses) or "none"
        return {
            "kdsweep.pair": f"{config.pair.teacher.name}->{config.pair.student.name}",
            "kdsweep.loss": losses,
        }


class Pruning(Protocol):
    """Stops members early."""

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        """Take the metrics of some members after ``epoch`` (from 0); who leaves, and why."""
        ...


class RunObserver:
    """Passes each epoch's metrics to MLflow, a run for each member, and to the progress.

    Args:
        tracker: writes to MLflow.
        runs: by member.
        progress: on the terminal.
        pruning: sends members home.
        seeds: whether a member is one seed of several, and its metrics are named so.
    """

    def __init__(
        self,
        tracker: Tracker,
        runs: Mapping[str, str],
        progress: Progress,
        pruning: Pruning | None = None,
        *,
        seeds: bool,
    ) -> None:
        self.seeds = seeds
        self.pruning = pruning
        self.tracker = tracker
        self.runs = runs
        self.progress = progress

    def step(self, done: int, total: int) -> None:
        """Pass on how far the training is."""
        self.progress.step(done, total)

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        """Log every member's metrics; the pruning sends members home."""
        for name, record in records.items():
            shown = of_seed(record) if self.seeds else record
            self.tracker.log_epoch(self.runs[name], shown, epoch=epoch + 1)
        self.progress.epoch(epoch, records)
        leaving = {} if self.pruning is None else self.pruning.epoch(epoch, records)
        diverged = [name for name, record in records.items() if has_diverged(record)]
        self.progress.leave((*leaving, *diverged), epoch)
        return leaving


_STATES: dict[str, Status] = {
    "finished": "finished",
    "complete": "finished",
    "diverged": "failed",
    "failed": "failed",
    "dropped": "pruned",
    "pruned": "pruned",
}
