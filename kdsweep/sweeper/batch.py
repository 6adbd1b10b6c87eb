"""One batch of trials through whichever launcher was chosen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from kdsweep.jobs.batch import CreatePruning
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import Plan
from kdsweep.jobs.session import Session
from kdsweep.sweeper.compose import Composer
from kdsweep.sweeper.launcher import FusedLauncher


async def launch(
    launcher: Launcher,
    session: Session,
    composer: Composer,
    jobs: Sequence[Job],
    plans: Sequence[Plan],
    create_pruning: CreatePruning | None,
) -> list[BaseException | None]:
    """Train jobs, together where the launcher can; what each one failed with.

    What became of a job is in its record; an error says only why there is none.
    """
    if isinstance(launcher, FusedLauncher):
        returns = await launcher.train(session, composer, jobs, plans, create_pruning)
        return [_error(one) for one in returns]
    returns = []
    numbered = list(enumerate(jobs))
    for _, run in itertools.groupby(
        numbered, key=lambda pair: _number(pair[1]) - pair[0]
    ):  # other launchers number their jobs on from the first
        part = [job for _, job in run]
        returns += launcher.launch(
            [list(job.overrides) for job in part], initial_job_idx=_number(part[0])
        )
    return [_error(one) for one in returns]


def _number(job: Job) -> int:
    assert job.config.trial is not None
    return job.config.trial


def _error(result: JobReturn) -> BaseException | None:
    if result.status == JobStatus.COMPLETED:
        return None
    error = result._return_value  # the property would print and raise it
    assert isinstance(error, BaseException)
    return error
