"""What is printed and written when a sweep, or a single experiment, has ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.config import Config
from kdsweep.config.secrets import HIDDEN, hide_passwords
from kdsweep.errors import reason_of
from kdsweep.jobs.job import Job, Outcome
from kdsweep.jobs.session import Session
from kdsweep.report.answer import answer
from kdsweep.report.files import save_report, to_track
from kdsweep.report.table import details, print_sweep
from kdsweep.results.cells import CellRecords, cells_of, read_records
from kdsweep.results.data import Sweep
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.race import Race
from kdsweep.results.summary import summarise
from kdsweep.store import writable
from kdsweep.sweeper.dashboard import annotate
from kdsweep.sweeper.glance import log_study
from kdsweep.sweeper.next_step import next_step
from kdsweep.sweeper.search import search_figures
from kdsweep.tracking import Status

if TYPE_CHECKING:
    import optuna


def report_study(
    session: Session,
    config: Config,
    folder: Path,
    study: str,
    *,
    adaptive: bool,
    optuna_study: optuna.Study | None = None,
) -> None:
    """Close the study's parent run, print its report, and write it beside the records.

    Args:
        session: whose MLflow has the runs.
        config: of the study.
        folder: of the study.
        study: its name.
        adaptive: whether cells were chosen by what earlier ones scored.
        optuna_study: gets its verdicts as notes.
    """
    race = Race.find(folder)
    cells = cells_of(read_records(folder), None if race is None else race.keys)
    if not cells:
        return
    sweep, _ = judge_sweep(summarise(study, cells), cells, folder, adaptive=adaptive)
    session.display.note("writes the report")
    commands = follow_up(
        study,
        sweep,
        cells,
        root=config.root,
        storage=config.storage,
        uri=config.tracking.uri or "",
    )
    extras = search_figures(study, config.storage)
    with writable(folder):
        files = save_report(sweep, folder, extras=extras, commands=commands)
    compared = log_report(session, sweep, cells, files)
    tracker = session.tracker
    if optuna_study is not None:
        annotate(optuna_study, sweep, cells, table=tracker.table_url(study), page=tracker.run_url)
    print()
    print_sweep(sweep, part=details)
    print(f"\nReport: {files[0]}")
    if config.tracking.backend != "none":
        print("In MLflow, all cells by their difference:")
        print(f"  {tracker.table_url(study)}")
        print("or, the clearest of them beside the baseline:")
        print(f"  {tracker.compare_url(compared)}")
    print()
    print_sweep(sweep, part=answer)
    print()
    for purpose, command in (commands | see_again(session, config, study)).items():
        print(f"{purpose}:\n  {command}")


def log_report(
    session: Session, sweep: Sweep, cells: Sequence[CellRecords], files: Sequence[Path]
) -> list[str]:
    """Give a study's parent run its verdict and its report, and close it.

    Args:
        session: whose MLflow has the runs.
        sweep: judged; named as the study is in MLflow.
        cells: of the sweep, in its order.
        files: of its report, the page first.

    Returns:
        The runs to compare.
    """
    session.tracking.stop_monitors()
    parent = session.tracking.open_parent(sweep.study)
    compared = log_study(session.tracker, parent, sweep, cells)
    _log_files(session, parent, files)
    session.tracker.close(parent, "finished")
    return compared


def _log_files(session: Session, run: str, files: Sequence[Path]) -> None:
    """Copy what is to be tracked of a report to a run."""
    for path in to_track(files):
        place = Path("report") / path.parent.relative_to(files[0].parent)
        session.tracker.log_file(run, path, str(place))


def give_up(session: Session, study: str, error: BaseException) -> None:
    """Close the parent run of a sweep that ends early, if this session has opened it."""
    parent = session.tracking.parents.get(study)
    interrupted = isinstance(error, KeyboardInterrupt)
    reason = reason_of(error) if isinstance(error, KeyboardInterrupt) else str(error)
    if parent is not None:
        status: Status = "killed" if interrupted else "failed"
        session.tracker.close(parent, status, reason=hide_passwords(reason))
    if interrupted:
        shown = reason[0].upper() + reason[1:]
        print(f"\n{shown}; the same command continues study {study}.")


def see_again(session: Session, config: Config, study: str) -> dict[str, str]:
    """The command to look at the study, on this machine."""
    if config.tracking.backend != "none":
        return {"Serve MLflow's pages": session.tracker.ui_command()}
    where = _where(config.root, config.storage)
    return {"Show this again": f"python -m kdsweep.report study={study}{where}"}


def _where(root: str, storage: str) -> str:
    """What tells a command where the output is; empty for the default."""
    where = "" if root == "mlruns" else " " + shlex.quote(f"root={root}")
    if storage != f"sqlite:///{root}/optuna.db":
        where += " " + shlex.quote(f"storage={hide_passwords(storage)}")
    return where


def follow_up(
    study: str,
    sweep: Sweep,
    cells: Sequence[CellRecords],
    *,
    root: str,
    storage: str,
    uri: str = "",
) -> dict[str, str]:
    """The next command, and that to export the study, on any machine that has it.

    Args:
        study: its name.
        sweep: its report.
        cells: of it, in the same order.
        root: of all output.
        storage: the address of its database.
        uri: MLflow's, where it was given.
    """
    where = _where(root, storage)
    uri = hide_passwords(uri)
    own = " " + shlex.quote(f"tracking.uri={uri}") if HIDDEN in uri else ""
    given = f", with the password in the place of {HIDDEN}"
    purpose, command = next_step(study, sweep, cells, where=where, uri=own)
    return {
        f"{purpose}{given * (HIDDEN in where + own)}": command,
        f"Export the study{given * (HIDDEN in where)}": (
            f"python -m kdsweep.export study={study}{where}"
        ),
    }


def report_single(session: Session, job: Job, outcome: Outcome) -> None:
    """Print the table of one experiment, and write its report beside its record."""
    assert outcome.record is not None
    sweep = summarise(job.config.study or "experiment", cells_of([outcome.record]))
    with writable(job.folder):
        files = save_report(sweep, job.folder)
    if outcome.record.run_id is not None:
        _log_files(session, outcome.record.run_id, files)
    print()
    print_sweep(sweep)
    print(f"\nOutput: {job.folder}\nReport: {files[0]}")
    if job.config.tracking.backend != "none" and outcome.record.run_id is not None:
        print(f"See the run in MLflow:\n  {session.tracker.ui_command()}")
