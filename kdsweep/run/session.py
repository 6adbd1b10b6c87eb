"""What one command works with, from its first job to its last: opened once, closed once."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from kdsweep.config import Config
from kdsweep.run.logger import RunLogger
from kdsweep.run.workers import stop_workers
from kdsweep.store import Store
from kdsweep.tracking import Tracker
from kdsweep.tracking.session import TrackingSession


class Session:
    """The store, the tracker and the worker processes of one command.

    Args:
        config: of any job: all of a session's have one root and one tracking.
    """

    def __init__(self, config: Config) -> None:
        root = Path(config.root)
        self.store = Store(root)
        self.tracking = TrackingSession(root, config.tracking)

    @property
    def tracker(self) -> Tracker:
        """Where runs are logged."""
        return self.tracking.tracker

    def logger(self, config: Config, device: str) -> RunLogger:
        """Opens and closes the runs of a batch."""
        return RunLogger(self.tracking, config, device)

    def close(self) -> None:
        """End what would outlive the command."""
        stop_workers()
        self.tracking.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
