"""What one command works with, from its first job to its last: opened once, closed once."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from kdsweep.config import Config
from kdsweep.data.device import Datasets
from kdsweep.jobs.logger import RunLogger
from kdsweep.jobs.workers import Workers
from kdsweep.store import Store
from kdsweep.teachers.bank import Banks
from kdsweep.terminal.display import display_here
from kdsweep.tracking import Tracker
from kdsweep.tracking.session import TrackingSession


class Session:
    """The store, the tracker, the loaded data, the processes and the display of one command.

    Args:
        config: of any job: all of a session's have one root and one tracking.
        datasets: those that are loaded.
    """

    def __init__(self, config: Config, datasets: Datasets | None = None) -> None:
        root = Path(config.root)
        self.store = Store(root)
        self.datasets = datasets or Datasets()
        self.banks = Banks()
        self.workers = Workers()
        self.tracking = TrackingSession(root, config.tracking)
        self.display = display_here()

    @property
    def tracker(self) -> Tracker:
        """Where runs are logged."""
        return self.tracking.tracker

    def logger(self, config: Config, device: str) -> RunLogger:
        """Opens and closes the runs of a batch."""
        return RunLogger(self.tracking, config, device)

    def close(self) -> None:
        """End what would outlive the command."""
        self.workers.stop()
        if self.display.is_drawn and self.tracking.config.backend != "none":
            self.display.note("MLflow gets the last records")
        self.tracking.close()

    def __enter__(self) -> Self:
        self.display.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        finally:
            self.display.__exit__(kind, error, traceback)
