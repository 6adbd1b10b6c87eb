"""Records whose every number is chosen by the test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.config import Config
from kdsweep.results.record import COMPLETE, FAILED, NetworkRecord, Record, SeedRecord

FIRST = 1_000_000  # seed of a baseline
COSTS = {"parameters": 1.0, "size_mib": 1.0}


def network(seed: int, accuracy: float, *, key: str = "b", name: str = "s") -> NetworkRecord:
    metrics = {} if math.isnan(accuracy) else {"val_accuracy": accuracy}
    return NetworkRecord(
        key=f"{key}{seed}", name=name, seed=seed, metrics=metrics, per_class={}, costs=COSTS
    )


def seed_record(accuracy: float) -> SeedRecord:
    failed = math.isnan(accuracy)
    return SeedRecord(
        status="diverged" if failed else "finished",
        reason="the loss is nan in epoch 1" if failed else None,
        seconds=1.0,
        run_id=None,
        metrics={} if failed else {"val_accuracy": accuracy},
        per_class={},
        history=({"val_accuracy": accuracy},),
    )


def record(
    trial: int,
    scores: Mapping[int, float] | Sequence[float],
    baselines: Sequence[float] = (70.0, 71.0, 69.5, 70.2),
    *,
    point: Mapping[str, Any] | None = None,
    round_: int = 1,
    key: str = "b",
    **changes: Any,
) -> Record:
    """A record of a cell named by its trial, unless it has a point."""
    given = dict(scores) if isinstance(scores, Mapping) else dict(enumerate(scores))
    failed = [seed for seed, score in given.items() if math.isnan(score)]
    shown = {"distill.temperature": trial} if point is None else point
    made = Record(
        study="s",
        trial=trial,
        round=round_,
        overrides=tuple(f"{name}={value}" for name, value in shown.items()),
        state=FAILED if failed else COMPLETE,
        reason=f"seed {failed[0]}: the loss is nan in epoch 1" if failed else None,
        objectives=("val_accuracy",),
        values=() if failed else (sum(given.values()) / len(given),),
        split="validation",
        images=1000,
        run_id=None,
        seconds=1.0,
        costs=COSTS,
        config=dataclasses.asdict(Config()),
        seeds={seed: seed_record(score) for seed, score in given.items()},
        baselines=tuple(network(FIRST + i, b, key=key) for i, b in enumerate(baselines)),
        teacher=None,
    )
    return dataclasses.replace(made, **changes)
