"""Interim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class SweeperOptions:
    params: dict[str, Any]
    enqueue: tuple[dict[str, Any], ...]
    study_name: str | None
    n_trials: int
    n_jobs: int | None
    timeout: float | None
    max_failures: int | None
    max_failure_rate: float
    max_retries: int
    directions: tuple[str, ...] | None

    @classmethod
    def from_given(cls, given: Mapping[str, Any]) -> Self:
        d = given["direction"]
        return cls(
            params=dict(given["params"] or {}),
            enqueue=tuple(dict(p) for p in given["enqueue"] or ()),
            study_name=given["study_name"],
            n_trials=given["n_trials"],
            n_jobs=given["n_jobs"],
            timeout=given["timeout"],
            max_failures=given["max_failures"],
            max_failure_rate=given["max_failure_rate"],
            max_retries=given["max_retries"],
            directions=None if d is None else (d,) if isinstance(d, str) else tuple(d),
        )
