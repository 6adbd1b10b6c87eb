"""One job on its own: an experiment without -m, or a cell in the hands of another launcher."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdsweep.data.device import Datasets
from kdsweep.errors import UserError
from kdsweep.jobs.batch import run_plans
from kdsweep.jobs.job import make_job
from kdsweep.jobs.plan import plan, warn_of_idle_average
from kdsweep.jobs.session import Session
from kdsweep.sweeper.hydra_job import hide_in_files
from kdsweep.sweeper.launcher import refuse_chdir
from kdsweep.sweeper.pruning import create_pruning
from kdsweep.sweeper.reporting import report_single


def run_job(config: DictConfig, hydra: Any, *, single: bool) -> float | list[float]:
    """Train one job; its objectives.

    Raises:
        UserError: it can't be had as it was asked for; the folder that Hydra made is gone again.
        TrainingError: it failed.
    """
    folder = Path(hydra.runtime.output_dir)
    if hydra.output_subdir is not None:
        hide_in_files(folder / hydra.output_subdir)
    try:
        refuse_chdir(hydra)
        job = make_job(config, hydra)
        datasets = Datasets()
        plans = plan([job], datasets)
    except UserError:
        _remove(folder)
        raise
    if single:
        warn_of_idle_average(plans)
    with Session(job.config, datasets) as session:
        outcome = run_plans(session, plans, create_pruning=create_pruning())[job.folder]
        if single and outcome.error is None:
            report_single(session, job, outcome)
    return outcome.value


def _remove(folder: Path) -> None:
    """Take back what Hydra has written before it called: no more than that."""
    for path in (*folder.glob(".hydra/*.yaml"), *folder.glob("*.log")):
        path.unlink()
    for left in (folder / ".hydra", folder, *list(folder.parents)[:4]):
        with contextlib.suppress(OSError):  # not empty: it was there before
            left.rmdir()
