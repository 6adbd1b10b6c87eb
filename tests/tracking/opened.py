"""A run that a test has open."""

from __future__ import annotations

from kdsweep.tracking import Tracker


def open_run(tracker: Tracker, name: str = "a run", parent: str | None = None) -> str:
    return tracker.open_run(name, parent=parent, params={}, tags={"kdsweep.study": "s"})
