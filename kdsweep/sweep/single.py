"""One job on its own: an experiment without -m, or a cell in the hands of another launcher."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdsweep.config.secrets import hide_passwords
from kdsweep.data.device import Datasets
from kdsweep.errors import UserError
from kdsweep.run.batch import run_plans
from kdsweep.run.job import make_job
from kdsweep.run.plan import plan, warn_of_idle_average
from kdsweep.run.session import Session
from kdsweep.sweep.launcher import refuse_chdir
from kdsweep.sweep.pruning import create_pruning
from kdsweep.sweep.reporting import report_single


def run_job(config: DictConfig, hydra: Any, *, single: bool) -> float | list[float]:
    """Train one job; its objectives.

    Raises:
        UserError: it can't be had as it was asked for; the folder that Hydra made is gone again.
        TrainingError: it failed.
    """
    folder = Path(hydra.runtime.output_dir)
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
    for path in folder.glob(f"{hydra.output_subdir}/*.yaml"):
        path.write_text(hide_passwords(path.read_text()))
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
