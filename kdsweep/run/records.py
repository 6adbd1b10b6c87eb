"""What is kept of a job when it ends: one JSON record, the source of every table and verdict."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.errors import UserError
from kdsweep.run.job import Job
from kdsweep.teachers.stored import Found
from kdsweep.train.interfaces import Trained

COMPLETE, FAILED, PRUNED = "complete", "failed", "pruned"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """One trained seed of a job: how it went, what was measured, where it is logged."""

    trained: Trained
    metrics: Mapping[str, float]
    per_class: Mapping[str, float]  # percent right of each class's evaluation images
    run_id: str | None
    baseline: Found | None


def make_record(
    job: Job,
    students: Sequence[Student],
    *,
    split: str,
    teacher: Found | None,
    costs: Mapping[str, float],
    run_id: str | None,
) -> dict[str, Any]:
    """The record of a job whose seeds have all been trained, or have failed.

    A value is the mean over seeds, on the evaluation images. A job with a seed that failed has
    failed: the mean of the survivors is not the mean.
    """
    prefix = "val" if split == "validation" else split
    names = [metric_name(name, prefix) for name in job.config.objectives]
    broken = [s for s in students if s.trained.status != "finished"]
    state, reason = COMPLETE, None
    if broken:
        first = broken[0].trained
        state = PRUNED if first.status == "dropped" else FAILED
        reason = f"seed {first.seed}: {first.reason}"
    values = [] if broken else [_mean(name, students, costs, prefix) for name in names]
    return {
        "study": job.config.study,
        "trial": job.config.trial,
        "overrides": list(job.overrides),
        "state": state,
        "reason": reason,
        "objectives": names,
        "values": values,
        "split": split,
        "run_id": run_id,
        "seconds": sum(s.trained.seconds for s in students),
        "costs": dict(costs),
        "config": dataclasses.asdict(job.config),
        "seeds": {str(s.trained.seed): _seed(s) for s in students},
        "teacher": None if teacher is None else _network(teacher),
    }


def metric_name(objective: str, prefix: str) -> str:
    """An objective as it is logged: accuracy is val_accuracy or test_accuracy."""
    measured = ("accuracy", "top5_accuracy", "nll", "ece", "agreement", "fidelity_kl")
    if objective in measured:
        return f"{prefix}_{objective}"
    return "latency_ms_p50" if objective == "latency_ms" else objective


def _mean(
    name: str, students: Sequence[Student], costs: Mapping[str, float], prefix: str
) -> float:
    if name in costs:
        return costs[name]
    try:
        return statistics.fmean(s.metrics[name] for s in students)
    except KeyError as error:
        raise UserError(
            f"objective={name.removeprefix(prefix + '_')}: not measured for these runs "
            "(agreement and fidelity need a teacher, top5 more than 5 classes)"
        ) from error


def _seed(student: Student) -> dict[str, Any]:
    trained = student.trained
    return {
        "status": trained.status,
        "reason": trained.reason,
        "seconds": trained.seconds,
        "run_id": student.run_id,
        "metrics": dict(student.metrics),
        "per_class": dict(student.per_class),
        "history": trained.history,
        "baseline": None if student.baseline is None else _network(student.baseline),
    }


def _network(found: Found) -> dict[str, Any]:
    return {
        "key": found.key,
        "name": found.meta.name,
        "seed": found.meta.seed,
        "metrics": found.metrics,
        "per_class": found.meta.per_class,
        "costs": found.meta.costs,
    }
