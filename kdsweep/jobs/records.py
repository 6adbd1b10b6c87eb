"""The record of a job, made of what its training gave."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from torch import Tensor

from kdsweep import evaluate
from kdsweep.config.secrets import hide_passwords, without_passwords
from kdsweep.data.device import DeviceDataset
from kdsweep.errors import UserError
from kdsweep.jobs.job import Job
from kdsweep.results.record import (
    COMPLETE,
    FAILED,
    PRUNED,
    Bin,
    Environment,
    NetworkRecord,
    Record,
    SeedRecord,
)
from kdsweep.teachers.stored import Found, averaged
from kdsweep.train.interfaces import Trained

_MEASURED = ("accuracy", "top5_accuracy", "nll", "ece", "agreement", "fidelity_kl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """One trained seed of a job: how it went, what was measured, where it is logged."""

    trained: Trained
    metrics: Mapping[str, float]
    per_class: Mapping[str, float]  # percent right of each class's evaluation images
    reliability: tuple[Bin, ...]
    run_id: str | None


def make_record(
    job: Job,
    students: Sequence[Student],
    *,
    split: str,
    images: int,
    teacher: NetworkRecord | None,
    baselines: Sequence[NetworkRecord],
    costs: Mapping[str, float],
    run_id: str | None,
    environment: Environment,
) -> Record:
    """The record of a job whose seeds have all been trained, or have failed.

    A value is the mean over seeds, on the images of ``split``. A job with a seed that failed has
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
    return Record(
        study=job.config.study,
        trial=job.config.trial,
        round=job.config.round,
        overrides=tuple(map(hide_passwords, job.overrides)),
        state=state,
        reason=reason,
        objectives=tuple(names),
        values=() if broken else tuple(_mean(name, students, costs, prefix) for name in names),
        split=split,
        images=images,
        run_id=run_id,
        seconds=sum(s.trained.seconds for s in students),
        costs=dict(costs),
        config=without_passwords(dataclasses.asdict(job.config)),
        seeds={s.trained.seed: _seed(s) for s in students},
        baselines=tuple(baselines),
        teacher=teacher,
        environment=environment,
    )


def failed_record(
    job: Job,
    error: Exception,
    *,
    split: str,
    images: int,
    baselines: Sequence[NetworkRecord] = (),
) -> Record:
    """The record of a job of which no seed could be trained, and which would fail again."""
    reason = hide_passwords(str(error))
    nothing = SeedRecord(
        status="failed", reason=reason, seconds=0.0, run_id=None, metrics={}, per_class={},
        history=(),
    )  # fmt: skip
    return Record(
        study=job.config.study,
        trial=job.config.trial,
        round=job.config.round,
        overrides=tuple(map(hide_passwords, job.overrides)),
        state=FAILED,
        reason=reason,
        objectives=tuple(
            metric_name(name, "val" if split == "validation" else split)
            for name in job.config.objectives
        ),
        values=(),
        split=split,
        images=images,
        run_id=None,
        seconds=0.0,
        costs={},
        config=without_passwords(dataclasses.asdict(job.config)),
        seeds=dict.fromkeys(job.seeds, nothing),
        baselines=tuple(baselines),
        teacher=None,
    )


def metric_name(objective: str, prefix: str) -> str:
    """An objective as it is logged: accuracy is val_accuracy or test_accuracy."""
    if objective in _MEASURED:
        return f"{prefix}_{objective}"
    return "latency_ms_p50" if objective == "latency_ms" else objective


def network_record(
    found: Found,
    bins: tuple[Bin, ...],
    *,
    last_epochs: int = 1,
    on_test: Mapping[str, float] | None = None,
) -> NetworkRecord:
    """A stored network with its metrics, and those of test where it was opened."""
    measured = averaged(found.metrics, found.meta.history, last_epochs)
    return NetworkRecord(
        key=found.key,
        name=found.meta.name,
        seed=found.meta.seed,
        metrics={**measured, **(on_test or {})},
        per_class=found.meta.per_class,
        costs=found.meta.costs,
        history=tuple(found.meta.history),
        reliability=bins,
    )


def reliability(logits: Tensor | None, dataset: DeviceDataset) -> tuple[Bin, ...]:
    """How often logits [n, K] of the evaluation images are right, by their confidence."""
    if logits is None:
        return ()
    found = evaluate.reliability(logits, dataset.evaluation.labels.cpu())
    return tuple(
        Bin(number=b, images=n, confidence=sure, right=right) for b, n, sure, right in found
    )


def missing_network(key: str, name: str, seed: int) -> NetworkRecord:
    """A baseline that could not be trained: a seed without a score."""
    return NetworkRecord(key=key, name=name, seed=seed, metrics={}, per_class={}, costs={})


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


def _seed(student: Student) -> SeedRecord:
    trained = student.trained
    return SeedRecord(
        status=trained.status,
        reason=trained.reason,
        seconds=trained.seconds,
        run_id=student.run_id,
        metrics=dict(student.metrics),
        per_class=dict(student.per_class),
        history=tuple(trained.history),
        reliability=student.reliability,
    )
