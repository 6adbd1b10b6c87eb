"""The launcher that trains a batch of jobs together, each in a Hydra job of its own.

Hydra's ``run_job`` runs one job from start to end, so the jobs are nested: the task of each
starts the next, the innermost trains them all, and on the way back each returns, or raises, what
became of it. So every job has its folder, ``.hydra/``, log, callbacks and JobReturn.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher

from kdsweep.errors import UserError
from kdsweep.sweep.compose import Composer

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from kdsweep.run.job import Job, Outcome
    from kdsweep.run.plan import Plan

log = logging.getLogger(__name__)
NESTED = 100  # jobs in one nest: each costs the interpreter's stack about five frames


class FusedLauncher(Launcher):
    """``hydra/launcher=fused``."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what ``launch`` needs; the task is kdsweep's own."""
        self.hydra_context = hydra_context
        self.config = config
        self.composer: Composer | None = None
        self.checked = False  # the sweeper has checked every job of the sweep

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs; one JobReturn for each, in order.

        Raises:
            UserError: a job can't be run as it was asked for; nothing was started.
        """
        setup_globals()
        self._log_to_console()
        if self.composer is None:
            self.composer = Composer(self.hydra_context, self.config)
        if not self.checked:
            check([self.composer.plain(overrides) for overrides in job_overrides])
        configs = [
            self.composer.job(overrides, initial_job_idx + i)
            for i, overrides in enumerate(job_overrides)
        ]
        for config in configs:
            refuse_chdir(config)
        returns: list[JobReturn] = []
        for start in range(0, len(configs), NESTED):
            returns.extend(self._launch_nested(configs[start : start + NESTED]))
        self._log_to_console()
        return returns

    def _launch_nested(self, configs: list[DictConfig]) -> list[JobReturn]:
        nest = _Nest(self.hydra_context, configs)
        nest.enter(0)
        if nest.refused is not None:
            raise nest.refused
        return nest.returns()

    def _log_to_console(self) -> None:
        configure_log(
            self.config.hydra.hydra_logging,
            self.config.hydra.verbose,
            execution_whitelist=self.hydra_context.execution_whitelist,
        )


class _Nest:
    def __init__(self, context: HydraContext, configs: list[DictConfig]) -> None:
        self.context = context
        self.configs = configs
        self.jobs: list[Job] = []
        self.outcomes: list[Outcome] = []
        self.finished: dict[int, JobReturn] = {}
        self.refused: UserError | None = None

    def enter(self, i: int) -> None:
        self.finished[i] = run_job(
            hydra_context=self.context,
            task_function=lambda config: self._task(i, config),
            config=self.configs[i],
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _task(self, i: int, config: DictConfig) -> float | list[float]:
        from hydra.core.hydra_config import HydraConfig

        from kdsweep.run.batch import run_jobs
        from kdsweep.run.job import make_job
        from kdsweep.sweep.pruning import Pruning

        self.jobs.append(make_job(config, HydraConfig.get()))
        if i + 1 < len(self.configs):
            self.enter(i + 1)
            configure_log(self.configs[i].hydra.job_logging, self.configs[i].hydra.verbose)
            inner = self.finished[i + 1]
            if not self.outcomes:  # the innermost could not run them: all fail alike
                raise inner._return_value
        else:
            try:
                self.outcomes = run_jobs(self.jobs, create_pruning=Pruning)
            except UserError as error:
                self.refused = error
                raise
        outcome = self.outcomes[i]
        logging.getLogger(f"{__name__}.job").debug("%s", outcome.record.get("state"))
        return outcome.value

    def returns(self) -> list[JobReturn]:
        return [self.finished[i] for i in range(len(self.configs))]


def refuse_chdir(config: DictConfig) -> None:
    """Jobs that train together can't each have a working folder of their own."""
    if config.hydra.job.chdir:
        raise UserError(
            "hydra.job.chdir=true: allowed is false; every job has its output folder anyway"
        )


def check(configs: Sequence[DictConfig]) -> list[Plan]:
    """Check jobs, given without Hydra's part, before any of them leaves a trace.

    Raises:
        UserError: the first thing that can't be had as it was asked for.
    """
    from kdsweep.config.typed import typed
    from kdsweep.run.job import Job
    from kdsweep.run.plan import plan

    jobs = [Job(config=typed(config), folder=Path(str(i))) for i, config in enumerate(configs)]
    return plan(jobs)
