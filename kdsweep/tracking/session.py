"""What one process keeps of experiment tracking, from its first run to its last."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from kdsweep.config import TrackingConfig
from kdsweep.tracking import create_tracker
from kdsweep.tracking.system import SystemMonitor
from kdsweep.tracking.tracker import Tracker


class TrackingSession:
    """One tracker, the parent runs that are open, and the networks that have runs under them.

    Whoever makes it closes it; as a context manager it closes itself.

    Args:
        root: the folder of everything that kdsweep writes.
        config: which store.
    """

    def __init__(self, root: Path, config: TrackingConfig) -> None:
        self.root = root
        self.config = config
        self.parents: dict[str, str] = {}  # run ids, by study
        self._networks: dict[str, set[str]] = {}  # keys, by parent run
        self._monitors: dict[str, SystemMonitor] = {}  # by run

    @cached_property
    def tracker(self) -> Tracker:
        """The tracker, whose store is opened at the first use.

        Raises:
            UserError: the store can't be created, reached or written.
        """
        tracker = create_tracker(self.config, root=self.root)
        tracker.prepare()
        return tracker

    def open_parent(
        self,
        study: str,
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Open a study's parent run, or add to the one that is open; return its id."""
        if study not in self.parents or params or tags:
            opened = self.tracker.open_sweep(study, params=params or {}, tags=tags or {})
            self.parents[study] = opened
        return self.parents[study]

    def networks(self, parent: str) -> set[str]:
        """The keys of the networks that have a run under ``parent``, as far as is known here."""
        return self._networks.setdefault(parent, set())

    def monitor(self, run: str) -> None:
        """Log what the machine does to a run, until ``stop_monitors``."""
        if self.config.backend != "none" and run not in self._monitors:
            self._monitors[run] = SystemMonitor(self.tracker, run)

    def stop_monitors(self) -> None:
        """Stop logging what the machine does."""
        while self._monitors:
            self._monitors.popitem()[1].stop()

    def close(self, *, patience: float | None = None) -> None:
        """Deliver what was logged, and end the tracker's thread; see ``Tracker.shutdown``."""
        self.stop_monitors()
        if "tracker" in self.__dict__:
            self.tracker.shutdown(patience=patience)

    def __enter__(self) -> TrackingSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
