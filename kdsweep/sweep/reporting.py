"""What is said when a sweep, or a single experiment, has ended."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.store import writable

if TYPE_CHECKING:
    from kdsweep.config import Config
    from kdsweep.run.job import Job, Outcome
    from kdsweep.tracking import Status


def opened() -> dict[str, str]:
    """The parent runs that this process has opened, by study, without importing anything new."""
    logger = sys.modules.get("kdsweep.run.logger")
    return {} if logger is None else logger.opened


def report_study(config: Config, folder: Path, *, adaptive: bool) -> None:
    """Close the study's parent run, print its report, and write it beside the records."""
    from kdsweep.report.html import save_report
    from kdsweep.report.table import print_sweep
    from kdsweep.results.judgement import judge_sweep
    from kdsweep.results.summary import latest, read_records, summarise
    from kdsweep.run.logger import tracker_of

    records = latest(read_records(folder))
    if not records:
        return
    study = config.study or folder.name
    sweep = judge_sweep(summarise(study, records), records, adaptive=adaptive)
    commands = next_commands(study, config, [r["run_id"] for r in records if r["run_id"]])
    with writable(folder):
        files = save_report(sweep, folder, commands=commands)
    tracker = tracker_of(config)
    parent = tracker.open_sweep(study, params={}, tags={})
    tracker.log_metrics(parent, _progress(records, config))
    for path in files:
        tracker.log_file(parent, path, "report")
    tracker.close(parent, "finished")
    print()
    print_sweep(sweep)
    print(f"\nReport: {files[0]}")
    for purpose, command in commands.items():
        print(f"{purpose}:\n  {command}")


def give_up(config: Config, folder: Path, error: BaseException) -> None:
    """Close the parent run of a sweep that ends early, if this process has opened it."""
    from kdsweep.run.logger import tracker_of

    study = config.study or folder.name
    if study not in opened():
        return
    status: Status = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
    tracker_of(config).close(opened()[study], status, reason=str(error) or "interrupted")
    if isinstance(error, KeyboardInterrupt):
        print(f"\nInterrupted; the same command continues study {study}.")


def _progress(records: list[dict[str, Any]], config: Config) -> dict[str, float]:
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


def next_commands(study: str, config: Config, runs: list[str]) -> dict[str, str]:
    """The exact commands to compare the runs in MLflow and to export the study."""
    from kdsweep.run.logger import tracker_of

    commands = {}
    if config.tracking.backend != "none":
        tracker = tracker_of(config)
        commands["Compare the runs in MLflow"] = tracker.ui_command()
        commands["then open"] = tracker.compare_url(runs)
    where = "" if config.root == "mlruns" else " " + shlex.quote(f"root={config.root}")
    if config.storage != f"sqlite:///{config.root}/optuna.db":
        from sqlalchemy.engine import make_url

        where += " " + shlex.quote(f"storage={make_url(config.storage)}")  # without its password
    commands["Confirm its best cells, on fresh seeds and on test"] = (
        f"python -m kdsweep.confirm study={study}{where} top=3 seeds=20"
    )
    commands["Export the study"] = f"python -m kdsweep.export study={study}{where}"
    return commands


def report_single(job: Job, outcome: Outcome) -> None:
    """Print the table of one experiment."""
    from kdsweep.report.table import print_sweep
    from kdsweep.results.summary import summarise

    print()
    print_sweep(summarise(job.config.study or "experiment", [outcome.record]))
    print(f"\nOutput: {job.folder}")
    run = outcome.record["run_id"]
    if job.config.tracking.backend != "none" and run is not None:
        from kdsweep.run.logger import tracker_of

        print(f"See the run in MLflow:\n  {tracker_of(job.config).ui_command()}")
