"""Which jobs can train together: those that differ in numbers and seeds alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kdsweep.engines.common import group_key
from kdsweep.jobs.job import Job


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
