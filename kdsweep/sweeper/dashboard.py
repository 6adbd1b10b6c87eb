"""What optuna-dashboard shows of a study: notes with its verdicts, and curves.

A note is kept where the dashboard itself keeps it: in attributes of the study, in parts of at most
``PART`` characters beside the number of its version. So the dashboard need not be installed.
Source: optuna_dashboard/_note.py, 0.21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage

from kdsweep.results.cells import CellRecords
from kdsweep.results.data import Sweep
from kdsweep.results.markdown import cell_markdown, summary_markdown
from kdsweep.results.record import COMPLETE, Record

PART = 2045
NOTE = 8000  # characters of the study's
POINTS = 50  # of a curve: each is a write to the database of its own


def annotate(
    study: optuna.Study,
    sweep: Sweep,
    cells: Sequence[CellRecords],
    *,
    table: str = "",
    page: Callable[[str], str] = lambda run: "",
) -> None:
    """Write the verdicts of a study, and those of its cells, as its notes and its trials'.

    Args:
        study: with the trials.
        sweep: judged.
        cells: of the sweep, in its order.
        table: the address of its cells in MLflow, if they are there.
        page: the address of a run there, by its id.
    """
    storage = study._storage
    study_id = storage.get_study_id_from_name(study.study_name)
    known = storage.get_study_system_attrs(study_id)
    records = [record for cell in cells for record in cell.rounds]
    complete = sum(record.state == COMPLETE for record in records)
    text = summary_markdown(
        sweep,
        progress=f"{complete} of {len(records)} trials are complete.",
        links=[f"[All cells in MLflow]({table})"] if table else [],
        limit=NOTE,
    )
    _write_note(storage, study_id, known, "dashboard:", text)
    ids = {trial.number: trial._trial_id for trial in study.get_trials(deepcopy=False)}
    for cell, shown in zip(cells, sweep.cells, strict=True):
        for record in cell.rounds:
            if record.trial not in ids:
                continue
            later = "" if record is cell.last else f" Its last round is trial {cell.last.trial}."
            address = page(record.run_id) if record.run_id else ""
            link = f" [Its run in MLflow]({address})" if address else ""
            note = f"{cell_markdown(sweep, shown)}{later}{link}"
            _write_note(storage, study_id, known, f"dashboard:{ids[record.trial]}:", note)


def curve(record: Record) -> dict[int, float]:
    """The objective after each epoch, from 1: the mean over seeds, as far as all of them go.

    Of long trainings every k-th epoch and the last.
    """
    seeds, name = list(record.seeds.values()), record.objectives[0]
    epochs = min((len(one.history) for one in seeds), default=0)
    every = -(-epochs // POINTS) if epochs else 1
    points = {}
    for epoch in range(1, epochs + 1):
        values = [one.history[epoch - 1].get(name) for one in seeds]
        numbers = [value for value in values if value is not None]
        if len(numbers) == len(seeds) and (epoch % every == 0 or epoch == epochs):
            points[epoch] = sum(numbers) / len(numbers)
    return points


def _write_note(
    storage: BaseStorage, study_id: int, known: dict[str, Any], prefix: str, text: str
) -> None:
    """Write a note unless it stands there already."""
    key, version = f"{prefix}note_str:", f"{prefix}note_ver"
    parts = [text[start : start + PART] for start in range(0, len(text), PART)]
    old = sum(name.startswith(key) for name in known)
    new = {f"{key}{i}": part for i, part in enumerate(parts)}
    new |= {f"{key}{i}": "" for i in range(len(parts), old)}
    if all(known.get(name) == part for name, part in new.items()):
        return
    for name, part in new.items():
        storage.set_study_system_attr(study_id, name, part)
    storage.set_study_system_attr(study_id, version, int(known.get(version, 0)) + 1)
