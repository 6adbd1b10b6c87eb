"""The sweep: which cells, in which study, in which batches, and what is told of them."""

from __future__ import annotations

import functools
import itertools
import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.utils import JobReturn
from hydra.utils import instantiate
from omegaconf import OmegaConf, open_dict, read_write
from optuna.trial import Trial, TrialState

from kdsweep.config.typed import typed
from kdsweep.errors import KdsweepError, TrainingError, UserError
from kdsweep.sweep import study as studies
from kdsweep.sweep.axes import check_axes, distinct, refuse_categories
from kdsweep.sweep.compose import Composer
from kdsweep.sweep.concluding import conclude
from kdsweep.sweep.launcher import FusedLauncher, check, refuse_chdir
from kdsweep.sweep.opening import adopt, adopt_axes, exclusive, open_study, study_name
from kdsweep.sweep.options import SweeperOptions
from kdsweep.sweep.pruning import create_pruner
from kdsweep.sweep.space import Space, allows
from kdsweep.sweep.telling import SETTLED, read_record, tell, tell_record

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
        self.options = dict(vars(SweeperOptions.from_given(sweeper.options)))
        params, sampler = dict(self.options["params"] or {}), self.options["sampler"]["_target_"]
        check_axes(params, arguments, grid=sampler.endswith("GridSampler"))
        self.space = Space(params, arguments)
        self.space.distributions = distinct(self.space.distributions)
        refuse_categories(sampler, self.space.distributions)
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
        if "seed" in self.space.distributions:
            raise UserError(
                "seed: is no axis of a sweep; seeds=3 trains every cell with three, from seed= up"
            )
        for key in ("n_trials", "n_jobs"):
            given = self.options[key]
            if given is not None and given < 1:
                raise UserError(f"hydra.sweeper.{key}={given}: allowed is 1 or more")
        cells = self.space.cells() if self.grid else []
        self._check(cells)
        study = self._open()
        self._recover(study)
        self._close_dangling(study)
        self._enqueue(study, cells)
        self._announce(study, cells)
        self._open_parent(study)
        started = time.monotonic()
        timeout = self.options["timeout"]
        while batch := self._next_batch(study):
            self._train(study, batch)
            self._count_failures(len(batch))
            if timeout is not None and time.monotonic() - started > timeout:
                log.info("timeout: %g s are over; the same command continues the study", timeout)
                break
        conclude(study, Path(self.config.hydra.sweep.dir))

    def _check(self, cells: Sequence[dict[str, Any]]) -> None:
        """Compose and check every cell, or the corners of a continuous space, before the first."""
        points = list(cells) or self.space.corners()
        composer = Composer(self.context, self.config)
        if isinstance(self.launcher, FusedLauncher):
            self.launcher.composer = composer
            self.launcher.checked = bool(cells) and not self.options["enqueue"]
        refuse_chdir(self.config)
        configs = [composer.plain(self.space.overrides(point)) for point in points]
        from kdsweep.run.plan import refuse_idle_axes

        refuse_idle_axes(check(configs))  # of the whole sweep: a batch may well share a value
        self.typed = typed(configs[0])
        self.content = self.space.content(configs[0], self.config.hydra.sweeper.sampler)

    def _open(self) -> optuna.Study:
        given = self.config.study or self.options["study_name"]
        name = study_name(given, list(self.space.distributions), self.content)
        with read_write(self.config), open_dict(self.config):
            self.config.study = name
        directions = self._directions()
        study = open_study(
            name=name,
            storage=self.options["storage"],
            directions=directions,
            sampler=optuna.samplers.RandomSampler(),  # never draws: points are known, or see _draw
            pruner=create_pruner(self.typed.pruner, self.typed.train.epochs),
        )
        with exclusive(study):
            adopt(study, self.content)
            adopt_axes(study, self.space.distributions)
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
        again = 0
        with exclusive(study):
            for frozen in studies.lost_trials(study):
                if not self._tell_settled(study, Trial(study, frozen._trial_id)):
                    retries = self.options["max_retries"]
                    again += studies.fail_lost(study, frozen, max_retries=retries)
        if again:
            log.info("%d trials of a dead process will be trained again", again)
        return again

    def _tell_settled(self, study: optuna.Study, trial: Trial) -> bool:
        """Tell of a trial by its record, where that says all; whether it does."""
        record = read_record(Path(self.config.hydra.sweep.dir) / str(trial.number))
        if record.get("state") not in SETTLED:
            return False
        tell_record(study, trial, record, record["values"])
        return True

    def _close_dangling(self, study: optuna.Study) -> None:
        """Close the runs that dead processes left open."""
        if self.typed.tracking.backend != "none" and len(study.get_trials(deepcopy=False)):
            from kdsweep.run.logger import tracker_of

            tracker_of(self.typed).close_dangling(study.study_name)

    def _enqueue(self, study: optuna.Study, cells: Sequence[dict[str, Any]]) -> None:
        points = [dict(point) for point in self.options["enqueue"] or []]
        for point in points:
            unknown = point.keys() ^ self.space.distributions.keys()
            if unknown:
                raise UserError(
                    f"hydra.sweeper.enqueue: {', '.join(sorted(unknown))} is in the point or in "
                    "the search space but not in both"
                )
            for key, value in point.items():
                if not allows(self.space.distributions[key], value):
                    raise UserError(
                        f"hydra.sweeper.enqueue: {key}={value} is not in the search space"
                    )
        with exclusive(study):
            studies.enqueue_missing(study, [*points, *cells], self.space.distributions)

    def _announce(self, study: optuna.Study, cells: Sequence[dict[str, Any]]) -> None:
        wanted = len(cells) if self.grid else self.options["n_trials"]
        done = self._settled(study)
        running = studies.count(study, (TrialState.RUNNING,))
        space = ", ".join(self.space.distributions) or "nothing"
        if done >= wanted:
            log.info("study %s: all %d trials are finished", study.study_name, wanted)
        else:
            elsewhere = f", {running} of them in other processes" if running else ""
            log.info(
                "study %s: %s, %d of %d trials to go%s",
                study.study_name,
                space,
                wanted - done,
                wanted,
                elsewhere,
            )

    def _open_parent(self, study: optuna.Study) -> None:
        """Say in the parent run what is searched, and what all trials have in common."""
        if self.typed.tracking.backend == "none":
            return
        from kdsweep.run.logger import open_parent

        params = {**self.content["fixed"], "search": self.space.describe()}
        open_parent(self.typed, study.study_name, params)

    def _next_batch(self, study: optuna.Study) -> list[Trial]:
        batch = self._draw(study)
        if not batch and self._recover(study):  # a process beside this one has died meanwhile
            batch = self._draw(study)
        return batch

    def _draw(self, study: optuna.Study) -> list[Trial]:
        size = self.options["n_jobs"] or self._batch_size()
        with exclusive(study):
            batch = studies.claim(study, self.space.distributions, size)
            while len(batch) < size and not self.grid:
                running = studies.count(study, (TrialState.RUNNING,))
                if self._settled(study) + self.unsettled + running >= self.options["n_trials"]:
                    break
                batch.append(studies.ask(study, self.space.distributions, self._sampler))
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

    def _train(self, study: optuna.Study, batch: list[Trial]) -> None:
        name = study.study_name
        jobs = [
            (*self.space.overrides(trial.params), f"study={name}", f"trial={trial.number}")
            for trial in batch
        ]
        try:
            returns = self._launch(jobs, [trial.number for trial in batch])
        except (KeyboardInterrupt, KdsweepError) as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            studies.release(study, [t for t in batch if not self._tell_settled(study, t)], reason)
            raise
        for trial, result in zip(batch, returns, strict=True):
            final = tell(study, trial, result)
            if final is not None:
                self.failures += 1
                self.unsettled += not final

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


def _instantiate(config: Any) -> Any:
    with warnings.catch_warnings():
        # The user has chosen it by name; that it may change one day is of no use here.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return instantiate(
            config,
            _execution_whitelist_=("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*"),
        )
