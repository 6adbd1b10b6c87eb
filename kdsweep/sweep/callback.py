"""What is said when a sweep, or a single experiment, has ended."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdsweep.jobs import Job, Outcome


class ReportCallback(Callback):
    """Ends every sweep with its table, its verdict and the commands that go on from here."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the study's folder, whichever sweeper and launcher filled it."""
        from kdsweep.cli import typed

        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, KeyboardInterrupt):
            return
        folder = Path(config.hydra.sweep.dir)
        plain = config.copy()
        plain._set_flag("struct", False)
        plain.pop("hydra")
        report_study(typed(plain), folder, interrupted=error is not None)


def report_study(config: Any, folder: Path, *, interrupted: bool) -> None:
    """Close the study's parent run and print its report."""
    from kdsweep.logbook import tracker_of
    from kdsweep.report.table import print_sweep
    from kdsweep.sweep.summary import latest, read_records, summarise

    records = latest(read_records(folder))
    study = config.study or folder.name
    tracker = tracker_of(config)
    if not records:
        return
    parent = tracker.open_sweep(study, params={}, tags={})
    tracker.log_metrics(parent, _progress(records, config))
    tracker.close(parent, "killed" if interrupted else "finished")
    if interrupted:
        print(f"\nInterrupted; the same command continues study {study}.")
        return
    sweep = summarise(study, records)
    print()
    print_sweep(sweep)
    runs = [r["run_id"] for r in records if r["run_id"]]
    for line in next_commands(study, config, runs):
        print(line)


def _progress(records: list[dict[str, Any]], config: Any) -> dict[str, float]:
    """What the parent run shows: how many trials there are, and the best of each objective."""
    values = [record["values"] for record in records if record["values"]]
    shown = {"trials": float(len(records)), "trials_complete": float(len(values))}
    for i, (name, direction) in enumerate(
        zip(records[0]["objectives"], config.directions, strict=True)
    ):
        if values:
            best = max if direction == "maximize" else min
            shown[f"best_{name}"] = best(value[i] for value in values)
    return shown


def next_commands(study: str, config: Any, runs: list[str]) -> list[str]:
    """The exact commands to compare the runs in MLflow and to export the study."""
    from kdsweep.logbook import tracker_of

    lines = []
    if config.tracking.backend != "none":
        tracker = tracker_of(config)
        lines += ["", "Compare the runs:", f"  {tracker.ui_command()}"]
        lines += [f"  then open {tracker.compare_url(runs)}"]
    lines += ["Export the study:", f"  python -m kdsweep.export study={study}"]
    return lines


def report_single(job: Job, outcome: Outcome) -> None:
    """Print the table of one experiment."""
    from kdsweep.report.table import print_sweep
    from kdsweep.sweep.summary import summarise

    sweep = summarise(job.config.study or "experiment", [outcome.record])
    print()
    print_sweep(sweep)
    for line in next_commands("NAME", job.config, [])[:3]:
        print(line)
    logging.getLogger(__name__).debug("output in %s", job.folder)
