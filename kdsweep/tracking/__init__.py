"""Experiment tracking; the only importer of MLflow, which it imports when a store is opened."""

from __future__ import annotations

from pathlib import Path

from kdsweep.config import TrackingConfig
from kdsweep.tracking.base import DatasetInfo, RunRecord, Status, Tracker, TrackingError
from kdsweep.tracking.null import NullTracker
from kdsweep.tracking.params import flatten

__all__ = [
    "DatasetInfo",
    "NullTracker",
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
        return NullTracker()
    from kdsweep.tracking.mlflow_tracker import MlflowTracker
    from kdsweep.tracking.store import resolve

    return MlflowTracker(resolve(config, root=root), root=root, patience=config.patience)
