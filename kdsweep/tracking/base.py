"""What tracking knows of datasets, of runs, and of stores that fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    source: str  # a folder or file, a URL, a name of the hub, or what code makes it
    n_train: int  # images
    n_val: int
    n_test: int
    source_type: str = "local"  # MLflow's: local, http, hugging_face, code
    shape: tuple[int, ...] = ()  # of an image
    split: str = ""  # how train and validation were parted, such as "split_seed=0"


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
    start_ms: int | None = None
    end_ms: int | None = None  # None while it runs
