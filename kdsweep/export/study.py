"""A study as tables, as a database of its own, and its best cell as a configuration."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdsweep.results.cells import cells_of, read_records
from kdsweep.results.data import difference
from kdsweep.results.data import summarise as summarise_seeds
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.race import Race
from kdsweep.results.record import read_record
from kdsweep.results.summary import summarise
from kdsweep.store import writable
from kdsweep.sweeper import study as studies
from kdsweep.sweeper.binding import is_adaptive
from kdsweep.sweeper.opening import load_study
from kdsweep.sweeper.study import unit_of

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = tuple("=+-@＝＋－＠")


def export_study(name: str, storage: str, *, root: Path, out: Path) -> list[tuple[Path, str]]:
    """Write the study's files to ``out``; each with what it is.

    Raises:
        UserError: no such study, or ``out`` can't be written.
    """
    study = load_study(name, storage)
    verdicts = cell_verdicts(name, root, adaptive=is_adaptive(study))
    frame = trials_frame(study, verdicts)
    shown = f"{len(frame)} trials" + (
        "" if verdicts else f", without verdicts: no records in {root}"
    )
    written: list[tuple[Path, str]] = []
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        for kind in ("csv", "parquet", "json"):
            path = out / f"trials.{kind}"
            _write_table(frame, path)
            written.append((path, shown))
        written.append((_copy_database(study, out / "study.db"), "the study in SQLite"))
        best = best_config(study, root)
        if best is not None:
            path = out / "best.yaml"
            _replace(path, lambda beside: beside.write_text(best))
            command = f"python -m kdsweep --config-dir {shlex.quote(str(out))} --config-name best"
            written.append((path, f"the best cell; run it with {command}"))
    return written


def cell_verdicts(name: str, root: Path, *, adaptive: bool) -> dict[int, dict[str, Any]]:
    """What is said of the cell of each trial, by its number: all rounds of a cell say the same.

    Empty where the study's records are not under ``root``.
    """
    folder = root / "hydra" / "studies" / name
    race = Race.find(folder)
    cells = cells_of(read_records(folder), None if race is None else race.keys)
    if not cells:
        return {}
    sweep, _ = judge_sweep(summarise(name, cells), cells, folder, adaptive=adaptive)
    found: dict[int, dict[str, Any]] = {}
    for cell, shown in zip(cells, sweep.cells, strict=True):
        summary, verdict = summarise_seeds(shown.accuracy_by_seed), shown.verdict
        columns: dict[str, Any] = {
            "cell": shown.label,
            "cell.n": summary.n,
            "cell.mean": summary.mean,
            "cell.sd": summary.sd,
            "cell.delta": difference(sweep, shown),
            "cell.verdict": "none",
        }
        if verdict is not None:
            columns |= {
                "cell.verdict": verdict.word,
                "cell.delta_low": verdict.low,
                "cell.delta_high": verdict.high,
                "cell.p_better": verdict.p_better,
            }
        found |= {r.trial: columns for r in cell.rounds if r.trial is not None}
    return found


def trials_frame(
    study: optuna.Study, verdicts: Mapping[int, Mapping[str, Any]] | None = None
) -> pd.DataFrame:
    """One row for each trial, in the order of their numbers.

    Args:
        study: whose trials.
        verdicts: further columns, by number.
    """
    import pandas as pd

    trials = study.get_trials(deepcopy=False)
    return pd.DataFrame([_row(study, t, (verdicts or {}).get(t.number, {})) for t in trials])


def _row(study: optuna.Study, trial: FrozenTrial, verdict: Mapping[str, Any]) -> dict[str, Any]:
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
    row.update(verdict)
    for seed, one in kept.get("seeds", {}).items():
        row.update({f"seed.{seed}.{name}": value for name, value in one["metrics"].items()})
        row[f"seed.{seed}.mlflow_run_id"] = one["mlflow_run_id"]
    for seed, metrics in kept.get("baselines", {}).items():
        row.update({f"baseline.{seed}.{name}": value for name, value in metrics.items()})
    return row


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        safe = frame.map(as_text).rename(columns=as_text)
        _replace(path, lambda beside: safe.to_csv(beside, index=False))
    elif path.suffix == ".parquet":
        _replace(path, lambda beside: frame.to_parquet(beside, index=False))
    else:
        rows = [
            {key: value for key, value in row.items() if not _missing(value)}
            for row in frame.to_dict(orient="records")
        ]
        _replace(path, lambda beside: beside.write_text(json.dumps(rows, indent=1)))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Put a file into its place, whole; where a link stands there, what it names is kept."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def as_text(value: object) -> object:
    """A cell of a CSV file that no spreadsheet takes for a formula and runs.

    Source: OWASP, CSV injection; spreadsheets skip blanks, and read full-width signs as signs.
    """
    if not isinstance(value, str):
        return value
    formula = value.lstrip().startswith(_FORMULA) or value.startswith(("\t", "\r", "\n"))
    return f"'{value}" if formula else value


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _copy_database(study: optuna.Study, path: Path) -> Path:
    def copy(beside: Path) -> None:
        optuna.copy_study(
            from_study_name=study.study_name,
            from_storage=study._storage,
            to_storage=f"sqlite:///{beside}",
        )

    _replace(path, copy)
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
    for key in ("study", "trial", "root", "storage", "tracking", "engine", "pruner"):
        config.pop(key, None)  # older records lack some
    head = {"defaults": ["config", {"override /distill": "none"}, "_self_"]}
    value = ", ".join(f"{v:.4f}" for v in best.values or [])
    return (
        f"# Trial {best.number} of study {study.study_name}, the best by validation: {value}\n"
        "# A score that was chosen for being the best is partly luck: confirm it on fresh seeds.\n"
        f"{OmegaConf.to_yaml(OmegaConf.create({**head, **config}))}"
    )
