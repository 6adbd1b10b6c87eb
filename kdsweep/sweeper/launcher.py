"""The launcher that trains a batch of jobs together: opens all, trains once, closes all.

Hydra imports this module at every start, so nothing heavy is imported before ``launch``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, env_override, setup_globals
from hydra.plugins.launcher import Launcher

from kdsweep.errors import UserError

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from kdsweep.jobs.batch import CreatePruning
    from kdsweep.jobs.job import Job
    from kdsweep.jobs.plan import Plan
    from kdsweep.jobs.session import Session
    from kdsweep.sweeper.compose import Composer


class FusedLauncher(Launcher):
    """``hydra/launcher=fused``."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what ``launch`` needs; the task is only shown to callbacks."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self._batches = 0  # at work
        self._variables = ExitStack()

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs of another sweeper; one JobReturn for each, in order.

        Raises:
            UserError: a job can't be run as it was asked for; nothing was started.
        """
        from kdsweep.config.typed import typed
        from kdsweep.jobs.coroutines import run
        from kdsweep.jobs.job import Job
        from kdsweep.jobs.plan import plan
        from kdsweep.jobs.session import Session
        from kdsweep.sweeper.compose import Composer
        from kdsweep.sweeper.hydra_job import MULTIRUN, hide_in_files

        composer = Composer(self.hydra_context, self.config)
        folder = Path(self.config.hydra.sweep.dir)
        hide_in_files(folder, MULTIRUN)
        jobs = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            made = typed(composer.compose(overrides))
            config = dataclasses.replace(made, study=made.study or folder.name, trial=number)
            jobs.append(
                Job(config=config, folder=folder / str(number), overrides=tuple(overrides))
            )
        with Session(jobs[0].config) as session:
            plans = plan(jobs, session.datasets)
            return run(self.train(session, composer, jobs, plans))

    async def train(
        self,
        session: Session,
        composer: Composer,
        jobs: Sequence[Job],
        plans: Sequence[Plan],
        create_pruning: CreatePruning | None = None,
    ) -> list[JobReturn]:
        """Open jobs that were planned, train them together, close them.

        Raises:
            UserError: a job can't be run as it was asked for.
        """
        from kdsweep.jobs.batch import train_plans
        from kdsweep.sweeper.hydra_job import HydraJob, logged

        setup_globals()
        hydra = self.config.hydra
        opened = [HydraJob(job, composer.job(job), self.hydra_context) for job in jobs]
        for one in opened:
            refuse_chdir(one.config.hydra)
            one.open(self.task_function)
        try:
            with (
                self._environment(opened[0].config.hydra.job.env_set),
                logged(opened, afterwards=(hydra.hydra_logging, hydra.verbose)),
            ):
                outcomes = await train_plans(session, plans, create_pruning=create_pruning)
        except BaseException as error:
            for one in opened:
                one.close(error)
            raise
        return [one.close(outcomes[one.job.folder]) for one in opened]

    @contextmanager
    def _environment(self, given: DictConfig) -> Iterator[None]:
        """The variables that the configuration sets, while any batch is at work."""
        if not self._batches:
            self._variables.enter_context(env_override(dict(given)))
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            if not self._batches:
                self._variables.close()


def refuse_handlers(config: DictConfig) -> None:
    """Let no configuration of logging start what is no part of logging."""
    for name, handler in (config.hydra.job_logging.get("handlers") or {}).items():
        made = str(handler.get("class") or handler.get("()"))
        if not made.startswith("logging."):
            raise UserError(
                f"hydra.job_logging.handlers.{name}.class={made}: allowed are the classes of "
                "logging.*"
            )


def refuse_chdir(hydra: Any) -> None:
    """Jobs that train together can't each have a working folder of their own."""
    if hydra.job.chdir:
        raise UserError(
            "hydra.job.chdir=true: allowed is false; every job has its output folder anyway"
        )
