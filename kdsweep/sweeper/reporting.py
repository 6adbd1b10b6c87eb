"""What is printed and written when a sweep, or a single experiment, has ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from kdsweep.config import Config
from kdsweep.config.secrets import HIDDEN, hide_passwords
from kdsweep.jobs.job import Job, Outcome
from kdsweep.jobs.session import Session
from kdsweep.report.files import save_report
from kdsweep.report.table import print_sweep
from kdsweep.results.cells import CellRecords, cells_of, read_records
from kdsweep.results.data import Sweep
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.race import Race
from kdsweep.results.summary import summarise
from kdsweep.store import writable
from kdsweep.sweeper.search import search_figures
from kdsweep.tracking import Status, Tracker


def report_study(
    session: Session, config: Config, folder: Path, study: str, *, adaptive: bool
) -> None:
    """Close the study's parent run, print its report, and write it beside the records."""
    race = Race.find(folder)
    cells = cells_of(read_records(folder), None if race is None else race.keys)
    if not cells:
        return
    sweep, _ = judge_sweep(summarise(study, cells), cells, folder, adaptive=adaptive)
    _log_verdicts(session.tracker, sweep, cells)
    runs = [record.run_id for cell in cells for record in cell.rounds if record.run_id]
    commands = follow_up(
        study, root=config.root, storage=config.storage, uri=config.tracking.uri or ""
    )
    extras = search_figures(study, config.storage)
    with writable(folder):
        files = save_report(sweep, folder, extras=extras, commands=commands)
    tracker = session.tracker
    parent = session.tracking.open_parent(study)
    tracker.log_metrics(parent, _progress(cells, config))
    tracker.describe(parent, "\n\n".join(sweep.verdict_lines))
    for path in files:
        tracker.log_file(parent, path, str(Path("report") / path.parent.relative_to(folder)))
    tracker.close(parent, "finished")
    print()
    print_sweep(sweep)
    print(f"\nReport: {files[0]}")
    for purpose, command in (comparison(session, config, runs) | commands).items():
        print(f"{purpose}:\n  {command}")


def _log_verdicts(tracker: Tracker, sweep: Sweep, cells: Sequence[CellRecords]) -> None:
    """Let the run of each cell's last round say what its comparison came to."""
    for cell, shown in zip(cells, sweep.cells, strict=True):
        verdict, run = shown.verdict, cell.last.run_id
        if verdict is not None and run is not None:
            tracker.log_verdict(
                run,
                verdict=verdict.word,
                difference=verdict.difference,
                low=verdict.low,
                high=verdict.high,
                n=len(shown.accuracy_by_seed),
            )


def give_up(session: Session, study: str, error: BaseException) -> None:
    """Close the parent run of a sweep that ends early, if this session has opened it."""
    parent = session.tracking.parents.get(study)
    interrupted = isinstance(error, KeyboardInterrupt)
    if parent is not None:
        status: Status = "killed" if interrupted else "failed"
        reason = hide_passwords(str(error)) or "interrupted"
        session.tracker.close(parent, status, reason=reason)
    if interrupted:
        print(f"\nInterrupted; the same command continues study {study}.")


def _progress(cells: Sequence[CellRecords], config: Config) -> dict[str, float]:
    """What the parent run shows: how many trials there are, and the best of each objective."""
    records = [record for cell in cells for record in cell.rounds]
    values = [record.values for record in records if record.values]
    shown = {"trials": float(len(records)), "trials_complete": float(len(values))}
    for i, (name, direction) in enumerate(
        zip(records[0].objectives, config.directions, strict=True)
    ):
        if values:
            best = max if direction == "maximize" else min
            shown[f"best_{name}"] = best(value[i] for value in values)
    return shown


def comparison(session: Session, config: Config, runs: Sequence[str]) -> dict[str, str]:
    """How to compare the runs in MLflow, on this machine."""
    if config.tracking.backend == "none":
        return {}
    return {
        "Compare the runs in MLflow": session.tracker.ui_command(),
        "then open": session.tracker.compare_url(list(runs)),
    }


def follow_up(study: str, *, root: str, storage: str, uri: str = "") -> dict[str, str]:
    """The commands to confirm and to export the study, on any machine that has it.

    Args:
        study: its name.
        root: of all output.
        storage: the address of its database.
        uri: MLflow's, where it was given.
    """
    where = "" if root == "mlruns" else " " + shlex.quote(f"root={root}")
    if storage != f"sqlite:///{root}/optuna.db":
        where += " " + shlex.quote(f"storage={hide_passwords(storage)}")
    uri = hide_passwords(uri)
    own = " " + shlex.quote(f"tracking.uri={uri}") if HIDDEN in uri else ""
    given = f", with the password in the place of {HIDDEN}"
    confirm = (
        f"Confirm its best cells, on fresh seeds and on test{given * (HIDDEN in where + own)}"
    )
    return {
        confirm: f"python -m kdsweep.confirm study={study}{where}{own} top=3 seeds=20",
        f"Export the study{given * (HIDDEN in where)}": (
            f"python -m kdsweep.export study={study}{where}"
        ),
    }


def report_single(session: Session, job: Job, outcome: Outcome) -> None:
    """Print the table of one experiment."""
    assert outcome.record is not None
    print()
    print_sweep(summarise(job.config.study or "experiment", cells_of([outcome.record])))
    print(f"\nOutput: {job.folder}")
    if job.config.tracking.backend != "none" and outcome.record.run_id is not None:
        print(f"See the run in MLflow:\n  {session.tracker.ui_command()}")
