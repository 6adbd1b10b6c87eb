"""Training without MLflow: ``tracking.backend=none``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from kdsweep.tracking.base import DatasetInfo, RunRecord, Status, Tracker


class NullTracker(Tracker):
    """Records nothing; every run's id is the empty string."""

    uri = ""

    @override
    def prepare(self) -> None: ...

    @override
    def open_sweep(
        self, study: str, *, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> str:
        return ""

    @override
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

    @override
    def open_unique(
        self,
        name: str,
        *,
        unique: str,
        parent: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        dataset: DatasetInfo | None = None,
    ) -> str | None:
        return ""

    @override
    def log_epoch(self, run: str, metrics: Mapping[str, float], *, epoch: int) -> None: ...

    @override
    def log_metrics(self, run: str, metrics: Mapping[str, float], *, step: int = 0) -> None: ...

    @override
    def log_history(
        self, run: str, history: Sequence[Mapping[str, float]], *, first_epoch: int = 1
    ) -> None: ...

    @override
    def log_verdict(
        self, run: str, *, verdict: str, difference: float, low: float, high: float, n: int
    ) -> None: ...

    @override
    def describe(self, run: str, markdown: str) -> None: ...

    @override
    def set_tags(self, run: str, tags: Mapping[str, str]) -> None: ...

    @override
    def log_file(self, run: str, path: Path, folder: str | None = None) -> None: ...

    @override
    def log_text(self, run: str, text: str, file: str) -> None: ...

    @override
    def close(
        self, run: str, status: Status, *, reason: str | None = None, end_ms: int | None = None
    ) -> None: ...

    @override
    def close_dangling(self, study: str) -> int:
        return 0

    @override
    def runs_of(self, study: str, *, tagged: str | None = None) -> list[RunRecord]:
        return []

    @override
    def compare_url(self, runs: Sequence[str]) -> str:
        return ""

    @override
    def ui_command(self) -> str:
        return ""

    @override
    def flush(self) -> None: ...

    @override
    def shutdown(self) -> None: ...
