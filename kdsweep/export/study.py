"""A study as tables, as a database of its own, and its best cell as a configuration."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdsweep.results.record import read_record
from kdsweep.store import writable
from kdsweep.sweeper import study as studies
from kdsweep.sweeper.opening import load_study
from kdsweep.sweeper.study import unit_of

if TYPE_CHECKING:
    import pandas as pd


def export_study(name: str, storage: str, *, root: Path, out: Path) -> list[tuple[Path, str]]:
    """Write the study's files to ``out``; each with what it is.

    Raises:
        UserError: no such study, or ``out`` can't be written.
    """
    study = load_study(name, storage)
    frame = trials_frame(study)
    written: list[tuple[Path, str]] = []
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        for kind in ("csv", "parquet", "json"):
            path = out / f"trials.{kind}"
            _write_table(frame, path)
            written.append((path, f"{len(frame)} trials"))
        written.append((_copy_database(study, out / "study.db"), "the study in SQLite"))
        best = best_config(study, root)
        if best is not None:
            path = out / "best.yaml"
            path.write_text(best)
            command = f"python -m kdsweep --config-dir {out} --config-name best"
            written.append((path, f"the best cell; run it with {command}"))
    return written


def trials_frame(study: optuna.Study) -> pd.DataFrame:
    """One row for each trial, in the order of their numbers."""
    import pandas as pd

    return pd.DataFrame([_row(study, trial) for trial in study.get_trials(deepcopy=False)])


def _row(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    kept = trial.user_attrs
    names = study.metric_names or [f"value_{i}" for i in range(len(study.directions))]
    values = trial.values or [math.nan] * len(study.directions)
    row: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state.name,
        "round": kept.get(studies.ROUND),
        "reason": kept.get(studies.REASON),
        "start": None if trial.datetime_start is None else trial.datetime_start.isoformat(),
        "end": None if trial.datetime_complete is None else trial.datetime_complete.isoformat(),
        "seconds": kept.get("seconds"),
        "mlflow_run_id": kept.get("mlflow_run_id"),
    }
    row.update({f"param.{key}": value for key, value in trial.params.items()})
    row.update({f"value.{name}": v for name, v in zip(names, values, strict=True)})
    for seed, one in kept.get("seeds", {}).items():
        row.update({f"seed.{seed}.{name}": value for name, value in one["metrics"].items()})
        row[f"seed.{seed}.mlflow_run_id"] = one["mlflow_run_id"]
    for seed, metrics in kept.get("baselines", {}).items():
        row.update({f"baseline.{seed}.{name}": value for name, value in metrics.items()})
    return row


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".csv":
            frame.map(as_text).to_csv(beside, index=False)
        elif path.suffix == ".parquet":
            frame.to_parquet(beside, index=False)
        else:
            rows = [
                {key: value for key, value in row.items() if not _missing(value)}
                for row in frame.to_dict(orient="records")
            ]
            beside.write_text(json.dumps(rows, indent=1))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def as_text(value: object) -> object:
    """A cell of a CSV file that no spreadsheet takes for a formula and runs."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _copy_database(study: optuna.Study, path: Path) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        optuna.copy_study(
            from_study_name=study.study_name,
            from_storage=study._storage,
            to_storage=f"sqlite:///{beside}",
        )
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def best_config(study: optuna.Study, root: Path) -> str | None:
    """The best complete trial's configuration, as YAML for ``--config-name``; None without one."""
    from omegaconf import OmegaConf

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return None
    latest = {unit_of(trial): trial for trial in complete}.values()  # of a round trained twice
    if len(study.directions) == 1:
        choose = max if study.direction == StudyDirection.MAXIMIZE else min
        best = choose(latest, key=lambda trial: trial.values[0])
    else:
        front = [trial for trial in study.best_trials if trial in latest]
        if not front:
            return None
        best = front[0]
    folder = root / "hydra" / "studies" / study.study_name / str(best.number)
    config = dict(read_record(folder).config)
    for key in ("study", "trial", "root", "storage", "tracking", "pruner"):
        del config[key]
    head = {"defaults": ["config", {"override /distill": "none"}, "_self_"]}
    value = ", ".join(f"{v:.4f}" for v in best.values or [])
    return (
        f"# Trial {best.number} of study {study.study_name}, the best by validation: {value}\n"
        "# A score that was chosen for being the best is partly luck: confirm it on fresh seeds.\n"
        f"{OmegaConf.to_yaml(OmegaConf.create({**head, **config}))}"
    )
