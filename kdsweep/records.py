"""What is kept of a job when it ends: one JSON record, the source of every table and verdict."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.jobs import Job
from kdsweep.train.loop import Trained
from kdsweep.train.teachers import Found

COMPLETE, FAILED, PRUNED = "complete", "failed", "pruned"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """One trained seed of a job: how it went, what was measured, where it is logged."""

    trained: Trained
    metrics: Mapping[str, float]
    run_id: str | None
    baseline: Found | None


def make_record(
    job: Job,
    students: Sequence[Student],
    *,
    judged: str,
    teacher: Found | None,
    costs: Mapping[str, float],
    run_id: str | None,
) -> dict[str, Any]:
    """The record of a job whose seeds have all been trained, or have failed.

    The value is the mean accuracy over seeds, in percent, on the judged images. A job with a
    seed that failed has failed: the mean of the survivors is not the mean.
    """
    objective = f"{'val' if judged == 'validation' else judged}_accuracy"
    broken = [s for s in students if s.trained.status != "finished"]
    state, reason = COMPLETE, None
    if broken:
        first = broken[0].trained
        state = PRUNED if first.status == "dropped" else FAILED
        reason = f"seed {first.seed}: {first.reason}"
    values = [s.metrics[objective] for s in students if s.trained.status == "finished"]
    return {
        "study": job.config.study,
        "trial": job.config.trial,
        "overrides": list(job.overrides),
        "state": state,
        "reason": reason,
        "objective": objective,
        "value": statistics.fmean(values) if values and not broken else None,
        "judged": judged,
        "run_id": run_id,
        "seconds": sum(s.trained.seconds for s in students),
        "costs": dict(costs),
        "config": dataclasses.asdict(job.config),
        "seeds": {str(s.trained.seed): _seed(s) for s in students},
        "teacher": None if teacher is None else _network(teacher),
    }


def _seed(student: Student) -> dict[str, Any]:
    trained = student.trained
    return {
        "status": trained.status,
        "reason": trained.reason,
        "seconds": trained.seconds,
        "run_id": student.run_id,
        "metrics": dict(student.metrics),
        "history": trained.history,
        "baseline": None if student.baseline is None else _network(student.baseline),
    }


def _network(found: Found) -> dict[str, Any]:
    return {
        "key": found.key,
        "name": found.meta["name"],
        "seed": found.meta["seed"],
        "metrics": found.metrics,
        "costs": found.meta["costs"],
    }
