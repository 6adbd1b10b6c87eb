"""Jobs as the command line composes them, trained in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose

from kdsweep.config.typed import typed
from kdsweep.jobs.batch import run_plans
from kdsweep.jobs.job import Job, Outcome
from kdsweep.jobs.plan import plan
from kdsweep.jobs.session import Session
from tests.test_methods import QUICK


def job(root: Path, *overrides: str) -> Job:
    """The next job under ``root``, quick and small; Hydra is initialised."""
    folder = root / f"job-{len(list(root.glob('job-*')))}"
    folder.mkdir()
    config = typed(compose("config", [*QUICK, f"root={root}", *overrides]))
    return Job(config=config, folder=folder, overrides=tuple(overrides))


def train(jobs: Sequence[Job]) -> list[Outcome]:
    """What became of each job, in their order; they may be several populations."""
    with Session(jobs[0].config) as session:
        outcomes = run_plans(session, plan(jobs))
    return [outcomes[one.folder] for one in jobs]
