"""What one command works with, from its first job to its last: opened once, closed once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from kdsweep.config import Config
from kdsweep.data.device import Datasets
from kdsweep.engines import Engine
from kdsweep.engines.create import create_engine, require_extra
from kdsweep.errors import Stopped
from kdsweep.jobs.logger import RunLogger
from kdsweep.store import Store
from kdsweep.terminal.display import display_here
from kdsweep.tracking import Tracker
from kdsweep.tracking.session import TrackingSession


class Session:
    """The store, the tracker, the loaded data, the engine and the display of one command.

    Args:
        config: of any job: all of a session's have one root and one tracking.
        datasets: those that are loaded.
    """

    def __init__(self, config: Config, datasets: Datasets | None = None) -> None:
        root = Path(config.root)
        self.store = Store(root)
        self.datasets = datasets or Datasets()
        self.config = config
        require_extra(config.engine)
        self._engine: Engine | None = None
        self._preparing = 0
        self.tracking = TrackingSession(root, config.tracking)
        self.display = display_here()

    @property
    def engine(self) -> Engine:
        """What trains, started when it is first asked for."""
        if self._engine is None:
            self._engine = create_engine(self.config, self.datasets)
        return self._engine

    @property
    def tracker(self) -> Tracker:
        """Where runs are logged."""
        return self.tracking.tracker

    def logger(self, config: Config, device: str) -> RunLogger:
        """Opens and closes the runs of a batch."""
        return RunLogger(self.tracking, config, device)

    @contextlib.contextmanager
    def preparing(self) -> Iterator[None]:
        """A batch gets ready: another would find its teacher and baselines in the making."""
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1

    @property
    def has_room(self) -> bool:
        """Whether another batch would keep idle slots busy."""
        return not self._preparing and self.engine.has_room

    def close(self, error: BaseException | None = None) -> None:
        """End what would outlive the command; ``error``: why that ends early, if it does."""
        if self._engine is not None:
            self._engine.close(error)
        if self.display.is_drawn and self.tracking.config.backend != "none":
            self.display.note("MLflow gets the last records")
        self.tracking.close(patience=0.0 if isinstance(error, Stopped) else None)

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
            self.close(error)
        finally:
            self.display.__exit__(kind, error, traceback)
