"""The sweep: which cells, in which study, in which batches, and what is told of them."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.utils import JobReturn, JobStatus
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper._impl import (
    OptunaSweeperImpl,
    create_params_from_overrides,
)
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import Trial, TrialState

from kdsweep import store
from kdsweep.cli import typed
from kdsweep.errors import KdsweepError, TrainingError, UserError
from kdsweep.jobs import RECORD
from kdsweep.sweep import study as studies
from kdsweep.sweep.compose import Composer
from kdsweep.sweep.launcher import FusedLauncher, check
from kdsweep.sweep.pruning import create_pruner

if TYPE_CHECKING:
    from kdsweep.sweep.sweeper import KdsweepSweeper

log = logging.getLogger(__name__)
BATCH_ON_CPU = 6  # cells: a kill loses no more, and larger batches gain little there
BATCH_ON_GPU = 100


class SweepLoop:
    """One session of a study: it ends when the study has all its trials.

    Args:
        sweeper: Hydra's object, with launcher and configuration.
        arguments: the task overrides of the command line.
    """

    def __init__(self, sweeper: KdsweepSweeper, arguments: list[str]) -> None:
        assert sweeper.launcher is not None
        assert sweeper.hydra_context is not None
        assert sweeper.config is not None
        self.launcher = sweeper.launcher
        self.context = sweeper.hydra_context
        self.config = sweeper.config
        self.options = sweeper.options
        params = self.options.get("params") or {}
        given = [f"{key}={value}" for key, value in params.items()]
        distributions, fixed, plain = create_params_from_overrides([*given, *arguments])
        self.distributions: dict[str, BaseDistribution] = {
            key: value for key, value in distributions.items() if key not in fixed
        }
        self.fixed = [f"{key}={value}" for key, value in fixed.items()] + list(plain)
        self.sampler = _instantiate(self.options["sampler"])
        self.grid = (
            isinstance(self.sampler, functools.partial)
            and self.sampler.func is optuna.samplers.GridSampler
        )
        self.failures = 0
        self.counted = 0  # of them, those of earlier batches
        self.unsettled = 0  # failures that another session may try again

    def run(self) -> None:
        """Train what the study still lacks.

        Raises:
            UserError: before any training, for a request that can't be met.
            TrainingError: every trial failed, or more than ``max_failures``.
        """
        if self.options.get("custom_search_space"):
            raise UserError(
                "hydra.sweeper.custom_search_space: allowed is null; name the space in "
                "hydra.sweeper.params, or take the official sweeper (hydra/sweeper=optuna)"
            )
        cells = self._cells() if self.grid else []
        self._check(cells)
        study = self._open()
        self._recover(study)
        self._close_dangling(study)
        self._enqueue(study, cells)
        self._announce(study, cells)
        started = time.monotonic()
        timeout = self.options["timeout"]
        while batch := self._next_batch(study):
            self._train(study, batch)
            self._count_failures(len(batch))
            if timeout is not None and time.monotonic() - started > timeout:
                log.info("timeout: %g s are over; the same command continues the study", timeout)
                break
        self._conclude(study)

    def _cells(self) -> list[dict[str, Any]]:
        choices = {}
        for key, distribution in self.distributions.items():
            try:
                choices[key] = list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
            except ValueError as error:
                raise UserError(
                    f"{key}: an interval has no exact grid; give a list (1,2,3), a range with a "
                    "step, or choose a sampler (search=tpe)"
                ) from error
        return [
            dict(zip(choices, point, strict=True))
            for point in itertools.product(*choices.values())
        ]

    def _check(self, cells: Sequence[dict[str, Any]]) -> None:
        """Compose and check every cell, or the corners of a continuous space, before the first."""
        points = list(cells) or self._corners()
        composer = Composer(self.context, self.config)
        if isinstance(self.launcher, FusedLauncher):
            self.launcher.composer = composer
        configs = [composer.job(self._overrides(point), i) for i, point in enumerate(points)]
        check(configs)
        plain = configs[0].copy()
        with open_dict(plain):
            plain.pop("hydra")
        self.typed = typed(plain)
        self.content = self._content(plain)

    def _corners(self) -> list[dict[str, Any]]:
        ends = {}
        for key, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                ends[key] = list(distribution.choices)
            else:
                assert isinstance(
                    distribution,
                    optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution,
                )
                ends[key] = [distribution.low, distribution.high]
        longest = max(map(len, ends.values()), default=1)
        return [
            {key: values[min(i, len(values) - 1)] for key, values in ends.items()}
            for i in range(longest)
        ]

    def _content(self, config: DictConfig) -> dict[str, Any]:
        """What names the study: the space, and everything that is not swept."""
        plain: Any = OmegaConf.to_container(config, resolve=True)
        for key in ("study", "trial", "tracking", "root", "storage"):
            del plain[key]
        groups = [key for key in self.distributions if "." not in key and key not in plain]
        for key in self.distributions:
            at = plain
            *path, last = key.lstrip("+").split(".")
            for part in path:
                at = at.get(part, {}) if isinstance(at, dict) else {}
            if isinstance(at, dict):
                at.pop(last, None)
        space = {
            key: optuna.distributions.distribution_to_json(value)
            for key, value in self.distributions.items()
        }
        sampler = OmegaConf.to_container(self.config.hydra.sweeper.sampler, resolve=True)
        return {"fixed": plain, "space": space, "groups": groups, "sampler": sampler}

    def _open(self) -> optuna.Study:
        given = self.config.study or self.options["study_name"]
        name = studies.study_name(given, list(self.distributions), self.content)
        with read_write(self.config), open_dict(self.config):
            self.config.study = name
        directions = self._directions()
        study = studies.open_study(
            name=name,
            storage=self.options["storage"],
            directions=directions,
            sampler=optuna.samplers.RandomSampler(),  # never draws: points are known, or see _draw
            pruner=create_pruner(self.typed.pruner, self.typed.train.epochs),
        )
        with studies.exclusive(study):
            studies.adopt(study, self.content)
        return study

    def _directions(self) -> list[str]:
        """One for each objective: what it asks for, or what the user set."""
        given = self.options["direction"]
        if given is None:
            return list(self.typed.directions)
        directions = [given] if isinstance(given, str) else list(given)
        allowed = {"minimize", "maximize"}
        if len(directions) != len(self.typed.objectives) or not allowed.issuperset(directions):
            raise UserError(
                f"hydra.sweeper.direction={given}: allowed is minimize or maximize, one for each "
                f"objective ({', '.join(self.typed.objectives)})"
            )
        return directions

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler that draws the trial of this number.

        A seeded one is seeded anew for each trial, so that neither a session that continues nor a
        process beside this one draws the same points again. A quasi-random sequence keeps its
        place in the study itself.
        """
        config = self.options["sampler"]
        if config.get("seed") is None or "QMC" in config["_target_"]:
            drawing: optuna.samplers.BaseSampler = self.sampler
        else:
            drawing = _instantiate(OmegaConf.merge(config, {"seed": config["seed"] + number}))
        return drawing

    def _recover(self, study: optuna.Study) -> int:
        """Tell what dead processes had finished, and put back the rest; how many that are."""
        folder = Path(self.config.hydra.sweep.dir)
        again = 0
        with studies.exclusive(study):
            for frozen in studies.lost_trials(study):
                record = _read(folder / str(frozen.number) / RECORD)
                if record.get("state") in ("complete", "pruned"):
                    trial = Trial(study, frozen._trial_id)
                    self._keep(study, trial, record, record["values"])
                else:
                    retries = self.options["max_retries"]
                    again += studies.fail_lost(study, frozen, max_retries=retries)
        if again:
            log.info("%d trials of a dead process will be trained again", again)
        return again

    def _close_dangling(self, study: optuna.Study) -> None:
        """Close the runs that dead processes left open."""
        if self.typed.tracking.backend != "none" and len(study.get_trials(deepcopy=False)):
            from kdsweep.logbook import tracker_of

            tracker_of(self.typed).close_dangling(study.study_name)

    @staticmethod
    def _keep(
        study: optuna.Study, trial: Trial, record: dict[str, Any], values: list[float]
    ) -> None:
        """Tell of a trial that is complete or, by its record, pruned."""
        attributes = _attributes(record)
        if record.get("state") == "pruned":
            attributes[studies.REASON] = record["reason"]
            studies.tell(study, trial, state=TrialState.PRUNED, attributes=attributes)
        else:
            studies.tell(
                study,
                trial,
                state=TrialState.COMPLETE,
                values=values,
                attributes=attributes,
            )

    def _enqueue(self, study: optuna.Study, cells: Sequence[dict[str, Any]]) -> None:
        points = [dict(point) for point in self.options["enqueue"] or []]
        for point in points:
            unknown = point.keys() ^ self.distributions.keys()
            if unknown:
                raise UserError(
                    f"hydra.sweeper.enqueue: {', '.join(sorted(unknown))} is in the point or in "
                    "the search space but not in both"
                )
            for key, value in point.items():
                if not _allows(self.distributions[key], value):
                    raise UserError(
                        f"hydra.sweeper.enqueue: {key}={value} is not in the search space"
                    )
        with studies.exclusive(study):
            studies.enqueue_missing(study, [*points, *cells])

    def _announce(self, study: optuna.Study, cells: Sequence[dict[str, Any]]) -> None:
        wanted = len(cells) if self.grid else self.options["n_trials"]
        done = self._settled(study)
        space = ", ".join(self.distributions) or "nothing"
        if done >= wanted:
            log.info("study %s: all %d trials are finished", study.study_name, wanted)
        else:
            log.info(
                "study %s: %s, %d of %d trials to go",
                study.study_name,
                space,
                wanted - done,
                wanted,
            )

    def _next_batch(self, study: optuna.Study) -> list[Trial]:
        batch = self._draw(study)
        if not batch and self._recover(study):  # a process beside this one has died meanwhile
            batch = self._draw(study)
        return batch

    def _draw(self, study: optuna.Study) -> list[Trial]:
        size = self.options["n_jobs"] or self._batch_size()
        batch: list[Trial] = []
        with studies.exclusive(study):
            while len(batch) < size:
                trial = studies.claim(study, self.distributions)
                if trial is None:
                    running = studies.count(study, (TrialState.RUNNING,))
                    begun = self._settled(study) + self.unsettled + running
                    if self.grid or begun >= self.options["n_trials"]:
                        break
                    trial = studies.ask(study, self.distributions, self._sampler)
                batch.append(trial)
        return batch

    @staticmethod
    def _settled(study: optuna.Study) -> int:
        """Trials that need not be trained any more: finished, or failed for good."""
        return studies.count(study) + sum(
            bool(trial.user_attrs.get(studies.FINAL))
            for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        )

    def _batch_size(self) -> int:
        import torch

        device = self.config.train.device
        on_gpu = device != "cpu" and torch.cuda.is_available()
        return BATCH_ON_GPU if on_gpu else BATCH_ON_CPU

    def _overrides(self, point: dict[str, Any]) -> list[str]:
        return [*(f"{key}={value}" for key, value in point.items()), *self.fixed]

    def _train(self, study: optuna.Study, batch: list[Trial]) -> None:
        name = study.study_name
        jobs = [
            (*self._overrides(trial.params), f"study={name}", f"trial={trial.number}")
            for trial in batch
        ]
        try:
            returns = self._launch(jobs, [trial.number for trial in batch])
        except (KeyboardInterrupt, KdsweepError) as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            studies.release(study, batch, reason)
            raise
        for trial, result in zip(batch, returns, strict=True):
            self._tell(study, trial, result)

    def _launch(self, jobs: list[tuple[str, ...]], numbers: list[int]) -> list[JobReturn]:
        if isinstance(self.launcher, FusedLauncher):
            return list(self.launcher.launch(jobs, initial_job_idx=numbers[0]))
        returns: list[JobReturn] = []
        for _, run in itertools.groupby(
            range(len(jobs)), key=lambda i: numbers[i] - i
        ):  # other launchers number their jobs on from the first
            part = list(run)
            returns += self.launcher.launch(
                [jobs[i] for i in part], initial_job_idx=numbers[part[0]]
            )
        return returns

    def _tell(self, study: optuna.Study, trial: Trial, result: JobReturn) -> None:
        record = self._record(result)
        value = result._return_value  # the property would print what is told below
        if result.status == JobStatus.COMPLETED or record.get("state") == "pruned":
            values = list(value) if isinstance(value, (list, tuple)) else [value]
            self._keep(study, trial, record, values)
            return
        reason = str(value) if isinstance(value, KdsweepError) else repr(value)
        attributes = _attributes(record)
        attributes[studies.REASON] = record.get("reason") or reason
        attributes[studies.FINAL] = isinstance(value, TrainingError)
        self.failures += 1
        self.unsettled += not attributes[studies.FINAL]
        studies.tell(study, trial, state=TrialState.FAIL, attributes=attributes)
        log.error("trial %d failed: %s", trial.number, attributes[studies.REASON])

    def _record(self, result: JobReturn) -> dict[str, Any]:
        if result.hydra_cfg is None:
            return {}
        return _read(Path(result.hydra_cfg.hydra.runtime.output_dir) / RECORD)

    def _count_failures(self, batch: int) -> None:
        """Stop where more trials have failed than the user puts up with."""
        limit, failed = self.options["max_failures"], self.failures - self.counted
        self.counted = self.failures
        if limit is not None and self.failures > limit:
            raise TrainingError(
                f"{self.failures} trials failed, more than hydra.sweeper.max_failures={limit}"
            )
        rate = self.options["max_failure_rate"]
        if failed / batch > rate:
            raise TrainingError(
                f"{failed} of {batch} trials of a batch failed, more than "
                f"hydra.sweeper.max_failure_rate={rate:g}"
            )

    def _conclude(self, study: optuna.Study) -> None:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            states = (TrialState.RUNNING, TrialState.WAITING, TrialState.PRUNED)
            if studies.count(study, states):  # in other processes, or after the timeout
                return
            failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            reason = failed[-1].user_attrs.get(studies.REASON, "unknown") if failed else "none ran"
            raise TrainingError(
                f"study {study.study_name}: every trial failed; the last: {reason}"
            )
        folder = Path(self.config.hydra.sweep.dir)
        if len(study.directions) == 1:
            best = study.best_trial
            results: dict[str, Any] = {
                "name": "optuna",
                "best_params": best.params,
                "best_value": best.value,
            }
        else:
            results = {
                "name": "optuna",
                "solutions": [{"params": t.params, "values": t.values} for t in study.best_trials],
            }
        with store.writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(OmegaConf.create(results), folder / "optimization_results.yaml")


def _instantiate(config: Any) -> Any:
    with warnings.catch_warnings():
        # The user has chosen it by name; that it may change one day is of no use here.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return instantiate(
            config,
            _execution_whitelist_=("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*"),
        )


def _allows(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _attributes(record: dict[str, Any]) -> dict[str, Any]:
    """What the study keeps of a record, beside the value."""
    if not record:
        return {}
    seeds = record["seeds"]
    return {
        "seeds": {seed: kept["metrics"] for seed, kept in seeds.items()},
        "baseline": {
            seed: kept["baseline"]["metrics"] for seed, kept in seeds.items() if kept["baseline"]
        },
        "mlflow_run_id": record["run_id"],
        "mlflow_seed_run_ids": {seed: kept["run_id"] for seed, kept in seeds.items()},
        "seconds": record["seconds"],
        "objectives": record["objectives"],
    }
