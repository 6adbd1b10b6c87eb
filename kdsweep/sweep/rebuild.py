"""The report of a study from its records alone: nothing that trains is needed."""

from __future__ import annotations

import shlex
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.report.files import save_report
from kdsweep.results.cells import CellRecords, cells_of, read_records
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.race import Race
from kdsweep.results.summary import summarise
from kdsweep.store import writable
from kdsweep.sweep.opening import has_database, load_study
from kdsweep.sweep.sampling import proposes_by_score
from kdsweep.sweep.search import search_figures


def rebuild(study: str, folder: Path, *, root: str, storage: str, out: Path) -> Path:
    """Write the report of a study anew, from its records alone; the report's path.

    Optuna's pictures need the study's database, and are left out where there is none.

    Raises:
        UserError: there is no record, or ``out`` can't be written.
    """
    cells = study_cells(folder)
    if not cells:
        raise UserError(
            f"study={study}: has no record in {folder}; root= names the folder of its records, "
            "and python -m kdsweep.export lists the studies"
        )
    adaptive = proposes_by_score(folder)
    sweep, _ = judge_sweep(summarise(study, cells), cells, folder, adaptive=adaptive)
    extras = search_figures(load_study(study, storage)) if has_database(storage) else []
    with writable(out):
        files = save_report(sweep, out, extras=extras, commands=follow_up(study, root, storage))
    return files[0]


def study_cells(folder: Path) -> list[CellRecords]:
    """The cells of the study in a folder."""
    race = Race.find(folder)
    return cells_of(read_records(folder), None if race is None else race.keys)


def follow_up(study: str, root: str, storage: str) -> dict[str, str]:
    """The commands to confirm, export and report the study, on any machine that has it."""
    where = "" if root == "mlruns" else " " + shlex.quote(f"root={root}")
    if storage != f"sqlite:///{root}/optuna.db":
        from sqlalchemy.engine import make_url

        where += " " + shlex.quote(f"storage={make_url(storage)}")  # without its password
    return {
        "Confirm its best cells, on fresh seeds and on test": (
            f"python -m kdsweep.confirm study={study}{where} top=3 seeds=20"
        ),
        "Export the study": f"python -m kdsweep.export study={study}{where}",
    }
