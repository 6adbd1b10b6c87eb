"""The runs of one batch as MLflow sees them, and the progress of the training that feeds them."""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
from collections.abc import Mapping
from typing import Protocol, TypedDict

from omegaconf import OmegaConf

from kdsweep.config import Config
from kdsweep.config.secrets import without_passwords
from kdsweep.data.device import DeviceDataset
from kdsweep.jobs.environment import environment
from kdsweep.jobs.job import Job
from kdsweep.results.record import RECORD, Record
from kdsweep.teachers.stored import Found
from kdsweep.terminal.progress import Progress
from kdsweep.tracking import DatasetInfo, Status, Tracker
from kdsweep.tracking.session import TrackingSession
from kdsweep.train.evaluation import has_diverged

KEY = "kdsweep.key"  # tags the run of a stored network: what it is found by

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

    def start(self) -> None:
        """Open the study's parent run, or find it where another batch has opened it."""
        if self.study is None:
            return
        self.tags["kdsweep.study"] = self.study
        self.parent = self.tracking.open_parent(self.study)
        self.tracker.set_tags(self.parent, self.tags)
        self.logged = self.tracking.networks(self.parent)

    def open_job(self, job: Job, dataset: DeviceDataset) -> dict[int | None, str]:
        """Open a job's runs: by seed, and under None the trial's own, which is the only seed's."""
        tags = {"kdsweep.role": "student", **self._pair_tags(job.config)}
        if job.config.distill.without_images is not None:
            tags["kdsweep.images"] = job.config.distill.without_images
        if job.config.trial is not None:
            tags["kdsweep.trial"] = str(job.config.trial)
        name, config = _job_name(job), job.config
        if len(job.seeds) == 1:
            run = self._open(name, self.parent, config, tags, dataset, seed=config.seed)
            return {None: run, config.seed: run}
        trial = self._open(name, self.parent, config, tags, dataset, seed=None)
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
            self.tracker.log_history(run, found.meta.history)
            self.finish_network(run, found)

    def _network(self, kind: str, key: str, config: Config, seed: int) -> tuple[str, Tags]:
        """Name and tags of the run of a teacher or baseline."""
        model = config.pair.teacher if kind == "teacher" else config.pair.student
        tags = {"kdsweep.role": kind, KEY: key, **self._pair_tags(config)}
        return f"{kind} {model.name} seed {seed}", tags

    def finish_network(self, run: str, found: Found) -> None:
        """Close the run of a teacher or baseline with what was measured of it."""
        last = len(found.meta.history)
        self.tracker.log_metrics(run, {**found.metrics, **found.meta.costs}, step=last)
        self.tracker.log_file(run, found.weights, "checkpoint")
        self.close(run, "finished")

    def finish_job(self, job: Job, record: Record, runs: Mapping[int | None, str]) -> None:
        """Close a job's runs with its metrics, files and state."""
        for seed in job.seeds:
            kept = record.seeds[seed]
            last = len(kept.history)  # the step of the last epoch: MLflow shows the latest
            self.tracker.log_metrics(runs[seed], {**kept.metrics, **record.costs}, step=last)
            for path in sorted(job.folder.glob(f"*seed{seed}.*")):
                self.tracker.log_file(runs[seed], path, "checkpoint")
        trial = runs[None]
        self.tracker.log_file(trial, job.folder / RECORD)
        if len(job.seeds) > 1 and record.values:
            self.tracker.log_metrics(trial, {**mean_metrics(record), **record.costs})
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
        params, tags, host = _params(config), {**self.tags, **tags}, dataset.host
        if seed is not None:
            params["seed"], tags["kdsweep.seed"] = seed, str(seed)
        return Opening(
            params=params,
            tags=tags,
            dataset=DatasetInfo(
                name=host.name,
                digest=dataset.digest,
                source=host.name,
                n_train=len(host.train.labels),
                n_val=len(host.val.labels),
                n_test=len(host.test.labels),
            ),
        )

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
    """Passes each epoch's metrics to MLflow, a run for each member, and to the progress."""

    def __init__(
        self,
        tracker: Tracker,
        runs: Mapping[str, str],
        progress: Progress,
        pruning: Pruning | None = None,
    ) -> None:
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
            self.tracker.log_epoch(self.runs[name], record, epoch=epoch + 1)
        self.progress.epoch(epoch, records)
        leaving = {} if self.pruning is None else self.pruning.epoch(epoch, records)
        diverged = [name for name, record in records.items() if has_diverged(record)]
        self.progress.leave((*leaving, *diverged), epoch)
        return leaving


def as_yaml(config: Config) -> str:
    """The configuration as OmegaConf writes it, part by part: most are those of the last trial."""
    parts = without_passwords(dataclasses.asdict(config))
    return "".join(_part_as_yaml(key, json.dumps(value)) for key, value in parts.items())


@functools.lru_cache(maxsize=256)
def _part_as_yaml(key: str, value: str) -> str:
    return OmegaConf.to_yaml({key: json.loads(value)})


def _params(config: Config) -> dict[str, object]:
    """The configuration without what only says where things go."""
    plain = without_passwords(dataclasses.asdict(config))
    for key in ("root", "study", "trial", "tracking"):
        del plain[key]
    return plain


_STATES: dict[str, Status] = {
    "finished": "finished",
    "complete": "finished",
    "diverged": "failed",
    "failed": "failed",
    "dropped": "pruned",
    "pruned": "pruned",
}


def mean_metrics(record: Record) -> dict[str, float]:
    """The mean of each metric over a job's seeds, the objective's spread, and their number."""
    seeds = [seed.metrics for seed in record.seeds.values()]
    means = {name: statistics.fmean(m[name] for m in seeds) for name in seeds[0]}
    spreads = {
        f"{name}_sd": statistics.stdev(m[name] for m in seeds)
        for name in record.objectives
        if name in seeds[0]
    }
    return {**means, **spreads, "n_seeds": float(len(seeds))}


def _job_name(job: Job) -> str:
    losses = "+".join(job.config.distill.losses) or "none"
    point = f"{losses} T={job.config.distill.temperature:g} alpha={job.config.distill.alpha:g}"
    return point if job.config.trial is None else f"trial {job.config.trial}: {point}"
