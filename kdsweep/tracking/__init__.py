"""Experiment tracking; the only importer of MLflow, which it imports when a store is opened."""

from __future__ import annotations

from pathlib import Path

from kdsweep.config import TrackingConfig
from kdsweep.tracking.base import DatasetInfo, RunRecord, Status, TrackingError
from kdsweep.tracking.connection import Connection
from kdsweep.tracking.params import flatten
from kdsweep.tracking.store import resolve
from kdsweep.tracking.tracker import Tracker

__all__ = [
    "DatasetInfo",
    "RunRecord",
    "Status",
    "Tracker",
    "TrackingError",
    "create_tracker",
    "flatten",
]


def create_tracker(config: TrackingConfig, *, root: Path) -> Tracker:
    """The tracker of a configuration; nothing is written or imported before its first use.

    ``root`` is the folder of everything that kdsweep writes.

    Raises:
        UserError: The store's address is not one that MLflow can keep runs at.
    """
    if config.backend == "none":
        return Tracker(None)
    store = resolve(config, root=root)
    return Tracker(Connection(store, root=root, patience=config.patience))
