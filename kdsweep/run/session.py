"""What one command works with, from its first job to its last: opened once, closed once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kdsweep.config import Config
from kdsweep.run.logger import RunLogger, open_parent, opened, tracker_of
from kdsweep.run.workers import stop_workers
from kdsweep.store import Store


class Session:
    """The store, the tracker and the worker processes of one command.

    Args:
        config: of any job: all of a session's have one root and one tracking.
    """

    def __init__(self, config: Config) -> None:
        self.store = Store(Path(config.root))
        self.tracker = tracker_of(config)

    def logger(self, config: Config, device: str) -> RunLogger:
        """Opens and closes the runs of a batch."""
        return RunLogger(self.tracker, config, device)

    def open_parent(self, config: Config, study: str, params: Mapping[str, object]) -> None:
        """Open a study's parent run, with what all of its runs have in common."""
        open_parent(config, study, params)

    def parent_of(self, config: Config, study: str) -> str:
        """A study's parent run, opened where this session has not done so."""
        return self.opened(study) or self.tracker.open_sweep(study, params={}, tags={})

    def opened(self, study: str) -> str | None:
        """The parent run that this session has opened."""
        return opened.get(study)

    def close(self) -> None:
        """End what would outlive the command."""
        stop_workers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
