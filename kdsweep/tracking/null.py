"""Training without MLflow: ``tracking.backend=none``."""

# ruff: noqa: D102 - the methods are described where Tracker declares them
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdsweep.tracking.base import DatasetInfo, RunRecord, Status, Tracker


class NullTracker(Tracker):
    """Records nothing; every run's id is the empty string."""

    uri = ""

    def prepare(self) -> None: ...

    def open_sweep(
        self, study: str, *, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> str:
        return ""

    def open_run(
        self,
        name: str,
        *,
        parent: str | None,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        dataset: DatasetInfo | None = None,
        start_ms: int | None = None,
    ) -> str:
        return ""

    def log_epoch(self, run: str, metrics: Mapping[str, float], *, epoch: int) -> None: ...

    def log_metrics(self, run: str, metrics: Mapping[str, float], *, step: int = 0) -> None: ...

    def log_history(
        self, run: str, history: Sequence[Mapping[str, float]], *, first_epoch: int = 1
    ) -> None: ...

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None: ...

    def log_file(self, run: str, path: Path, folder: str | None = None) -> None: ...

    def log_text(self, run: str, text: str, file: str) -> None: ...

    def close(
        self, run: str, status: Status, *, reason: str | None = None, end_ms: int | None = None
    ) -> None: ...

    def close_dangling(self, study: str) -> int:
        return 0

    def runs_of(self, study: str, *, tagged: str | None = None) -> list[RunRecord]:
        return []

    def compare_url(self, runs: Sequence[str]) -> str:
        return ""

    def ui_command(self) -> str:
        return ""

    def flush(self) -> None: ...

    def shutdown(self) -> None: ...
