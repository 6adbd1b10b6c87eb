"""Which jobs can train together: those that differ in numbers and seeds alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.config import Config
from kdsweep.jobs.job import Job
from kdsweep.losses.registry import hide_numbers, is_number
from kdsweep.store import digest

# Of a configuration, what changes neither a training nor what it needs.
_APART = (
    "seed", "seeds", "rounds", "round", "verdict", "study", "trial", "tracking", "engine",
    "storage", "objective", "pruner",
)  # fmt: skip


def numbers(config: Config) -> dict[str, float]:
    """The hyperparameters in which members of one population may differ."""
    values = {
        "lr": config.train.optimizer.lr,
        "weight_decay": config.train.optimizer.weight_decay,
        "temperature": config.distill.temperature,
        "alpha": config.distill.alpha,
    }
    for loss, options in config.distill.losses.items():
        own = {k: float(v) for k, v in options.items() if is_number(loss, k, v)}
        values.update({f"{loss}.{k}": v for k, v in own.items()})
    return values


def group_key(config: Config) -> str:
    """Equal for configurations that can train as one population, with one teacher.

    A teacher without a learning rate or weight decay of its own is trained with ``train``'s, so
    students that differ in it then have different teachers.
    """
    plain = dataclasses.asdict(config)
    for key in _APART:
        del plain[key]
    given = config.teacher.checkpoint is not None and not config.teacher.assistants
    for key in ("lr", "weight_decay"):
        if given or not needs_teacher(config) or plain["teacher"][key] is not None:
            del plain["train"]["optimizer"][key]
    hide_numbers(plain["distill"])
    return digest(plain)


def needs_teacher(config: Config) -> bool:
    """Whether any of the losses looks at a teacher, or the images come of one."""
    from kdsweep.losses.registry import loss_spec

    if config.distill.without_images is not None:
        return True
    return any(loss_spec(loss).needs_teacher for loss in config.distill.losses)


def why_apart(groups: Sequence[Sequence[Job]]) -> str:
    """The settings in which groups differ, so that they can't train as one population."""
    flat = [_flat(dataclasses.asdict(group[0].config)) for group in groups]
    hidden = ("seed", "study", "trial", "distill.temperature", "distill.alpha")
    differing = [
        key
        for key in dict.fromkeys(key for one in flat for key in one)
        if key not in hidden and len({repr(one.get(key)) for one in flat}) > 1
    ]
    return ", ".join(differing[:3]) + (" ..." if len(differing) > 3 else "")


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value and key != "losses":
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def group_jobs(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can train together, in order of appearance."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(group_key(job.config), []).append(job)
    return list(groups.values())
