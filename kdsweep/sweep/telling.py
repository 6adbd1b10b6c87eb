"""What a study is told of a trial: from the job's record, or from what Hydra returned."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import optuna
from hydra.core.utils import JobReturn, JobStatus
from optuna.trial import Trial, TrialState

from kdsweep.errors import KdsweepError, TrainingError
from kdsweep.results.record import RECORD
from kdsweep.sweep import study as studies

log = logging.getLogger(__name__)
SETTLED = ("complete", "pruned")  # states of a record that say all


def tell(study: optuna.Study, trial: Trial, result: JobReturn) -> bool | None:
    """Tell of a job that has run.

    Returns:
        None where the trial gave a value or was pruned; else whether it failed for good.
    """
    record = _record_of(result)
    value = result._return_value  # the property would print what is told below
    if record.get("state") in SETTLED:  # even if what ran beside it has failed
        tell_record(study, trial, record, record["values"])
        return None
    if result.status == JobStatus.COMPLETED:
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        tell_record(study, trial, record, values)
        return None
    reason = str(value) if isinstance(value, KdsweepError) else repr(value)
    attributes = _attributes(record)
    attributes[studies.REASON] = record.get("reason") or reason
    final = attributes[studies.FINAL] = isinstance(value, TrainingError)
    studies.tell(study, trial, state=TrialState.FAIL, attributes=attributes)
    log.error("trial %d failed: %s", trial.number, attributes[studies.REASON])
    return final


def tell_record(
    study: optuna.Study, trial: Trial, record: dict[str, Any], values: list[float]
) -> None:
    """Tell of a trial that is complete or, by its record, pruned."""
    attributes = _attributes(record)
    if "objectives" in record:
        studies.name_values(study, record["objectives"])
    if record.get("state") == "pruned":
        attributes[studies.REASON] = record["reason"]
        studies.tell(study, trial, state=TrialState.PRUNED, attributes=attributes)
    else:
        studies.tell(study, trial, state=TrialState.COMPLETE, values=values, attributes=attributes)


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a job's folder; empty where the job did not come so far."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _record_of(result: JobReturn) -> dict[str, Any]:
    if result.hydra_cfg is None:
        return {}
    return read_record(Path(result.hydra_cfg.hydra.runtime.output_dir))


def _attributes(record: dict[str, Any]) -> dict[str, Any]:
    """What the study keeps of a record, beside the value."""
    if not record:
        return {}
    return {
        "seeds": {
            seed: {
                "mlflow_run_id": kept["run_id"],
                "metrics": kept["metrics"],
                "baseline": kept["baseline"] and kept["baseline"]["metrics"],
            }
            for seed, kept in record["seeds"].items()
        },
        "mlflow_run_id": record["run_id"],
        "seconds": record["seconds"],
    }
