"""What the rest of kdsweep knows of experiment tracking: an interface, and no MLflow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kdsweep.errors import KdsweepError

Status = Literal["finished", "failed", "killed", "pruned"]


class TrackingError(KdsweepError):
    """The tracking store stopped taking what is logged, after it had been found to work."""


class StoreAway(TrackingError):
    """The store can't be reached or written at present: what is logged waits."""


class RecordRefused(TrackingError):
    """The store works, and will never take this."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A dataset as a run's input: what it is called, what is in it, where it came from."""

    name: str
    digest: str  # sha256 hex of pixels, labels and split
    source: str  # a folder, or the URL it was downloaded from
    n_train: int  # images
    n_val: int
    n_test: int
    split: str = ""  # how train and validation were parted, such as "split_seed=0"
    context: str = "training"  # what the run uses it for


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as the store has it."""

    run_id: str
    name: str
    parent: str | None
    sweep: bool  # the parent run of a sweep, opened by ``open_sweep``
    status: str  # MLflow's: RUNNING, FINISHED, FAILED, KILLED
    state: str  # ours: running, or the status given to ``close``
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # the last value of each


class Tracker(ABC):
    """Records runs. Any number of runs are open at once, each named by its id.

    After ``prepare``, nothing that is logged fails or waits because of the store. While that is
    away, records are kept under root, in order, and are delivered once it is back: in the
    background, by ``shutdown``, or by the ``prepare`` of a later session. A run that is opened
    meanwhile has an id of ours. All methods may be called from any thread.
    """

    uri: str  # the store's address, without a password; empty where there is no store

    @abstractmethod
    def prepare(self) -> None:
        """Open the store for writing, creating it where there is none, before any training.

        Delivers what earlier sessions had to leave. Safe in several processes at once, and cheap
        to call again.

        Raises:
            UserError: The store can't be created, reached or written.
        """

    @abstractmethod
    def open_sweep(
        self, study: str, *, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> str:
        """Open the parent run of a study and return its id: the same run in every session.

        A later session adds parameters that are new (MLflow's can't change) and replaces tags.
        Several processes may hold the sweep open; it ends when the last of them closes it, with
        the time at which the last of its runs ended.
        """

    @abstractmethod
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
        """Open a run and return its id; it belongs to its parent's study.

        Params may be nested (dataclasses, mappings): they are flattened with dots. They are in
        the store when the run is closed, or after ``flush``.
        """

    @abstractmethod
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
        """Open a run unless the study has one whose tag ``unique`` has the same value.

        A run that was killed or failed does not count.

        Returns:
            The new run's id, or None where there is such a run, in whichever process.
        """

    @abstractmethod
    def log_epoch(self, run: str, metrics: Mapping[str, float], *, epoch: int) -> None:
        """Log what one epoch gave. Returns at once; NaN and infinities are kept."""

    @abstractmethod
    def log_metrics(self, run: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics that belong to no epoch, such as those of the last evaluation."""

    @abstractmethod
    def log_history(
        self, run: str, history: Sequence[Mapping[str, float]], *, first_epoch: int = 1
    ) -> None:
        """Log the whole curve of a run that was found instead of trained, epoch by epoch."""

    @abstractmethod
    def log_verdict(
        self, run: str, *, verdict: str, difference: float, low: float, high: float, n: int
    ) -> None:
        """Log what a comparison with the baseline came to, also on a run that was closed.

        As metrics ``delta``, ``delta_low``, ``delta_high``, ``n_seeds`` and as tags
        ``kdsweep.verdict`` and ``kdsweep.interval``, so that MLflow's table can sort by either.

        Args:
            run: the run of a trial, or of a sweep.
            verdict: in a word, such as "better".
            difference: in points of the metric, as are ``low`` and ``high``.
            low: the lower end of its interval.
            high: the upper end.
            n: how many seeds it rests on.
        """

    @abstractmethod
    def describe(self, run: str, markdown: str) -> None:
        """Set a run's description, which MLflow's page of the run shows first."""

    @abstractmethod
    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name."""

    @abstractmethod
    def log_file(self, run: str, path: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artefacts, under ``folder``; it may be deleted afterwards.

        Raises:
            TrackingError: There is no such file.
        """

    @abstractmethod
    def log_text(self, run: str, text: str, file: str) -> None:
        """Write ``text`` to the artefact ``file``, such as ``config.yaml``. Returns at once."""

    @abstractmethod
    def close(
        self, run: str, status: Status, *, reason: str | None = None, end_ms: int | None = None
    ) -> None:
        """End a run, after the last of what was logged for it."""

    @abstractmethod
    def close_dangling(self, study: str) -> int:
        """Close the runs of a study that dead processes of this host left open; how many."""

    @abstractmethod
    def runs_of(self, study: str, *, tagged: str | None = None) -> list[RunRecord]:
        """Every run of a study, or those with a tag, oldest first; the parent run included.

        Raises:
            TrackingError: The store can't be read.
        """

    @abstractmethod
    def compare_url(self, runs: Sequence[str]) -> str:
        """The address of MLflow's comparison of these runs, once its UI is up."""

    @abstractmethod
    def ui_command(self) -> str:
        """The shell command that opens this store in MLflow's UI."""

    @abstractmethod
    def flush(self) -> None:
        """Wait until everything that was logged is in the store.

        Raises:
            TrackingError: The store did not take them; they are kept for another try.
        """

    @abstractmethod
    def shutdown(self) -> None:
        """Deliver what is logged, waiting ``tracking.patience`` s for a store that is away.

        Ends the background writer. What the store has not taken then stays under root for a later
        session. Also done when the interpreter exits.
        """
