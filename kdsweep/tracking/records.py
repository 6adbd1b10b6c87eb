"""What is logged, as records that can wait on disk and be delivered more than once.

Each record says everything that its delivery needs, times included, so that it changes nothing
whether it is delivered at once, hours later by another process, or a second time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kdsweep.tracking.base import DatasetInfo, Status

UNSENT = "unsent-"  # begins the id of a run that the store does not have yet


class Point(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """Something to be written to one run."""

    run: str  # the store's id, or one that begins with UNSENT


@dataclass(frozen=True, kw_only=True)
class OpenRun(Record):
    """A run to be created, once: ``run`` is kept as its tag."""

    name: str
    parent: str | None
    tags: Mapping[str, str]
    start_ms: int
    unique: str | None = None  # a tag: not created where a run of the study has it and its value


@dataclass(frozen=True, kw_only=True)
class OpenSweep(Record):
    """A study's parent run, to be created or opened again."""

    study: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    start_ms: int


@dataclass(frozen=True, kw_only=True)
class LogParams(Record):
    """Parameters, flat."""

    params: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LogDataset(Record):
    """A dataset that the run reads."""

    dataset: DatasetInfo


@dataclass(frozen=True, kw_only=True)
class LogPoints(Record):
    """Values of metrics."""

    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class SetTags(Record):
    """Tags, which replace those of the same name."""

    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SetView(Record):
    """A view of the runs table, kept with the experiment of the run and opened by its key."""

    key: str
    state: str  # JSON


@dataclass(frozen=True, kw_only=True)
class LogText(Record):
    """A text to be written to an artefact."""

    text: str
    file: str


@dataclass(frozen=True, kw_only=True)
class LogFile(Record):
    """A file to be copied to the artefacts."""

    path: str
    folder: str | None


@dataclass(frozen=True, kw_only=True)
class CloseRun(Record):
    """The end of a run."""

    status: Status
    reason: str | None
    end_ms: int


@dataclass(frozen=True, kw_only=True)
class CloseSweep(CloseRun):
    """The end of a study's parent run, unless another process has it open."""

    study: str
    owner: str  # of the process that closes it
    owner_key: str  # the tag that this process has on the run


ARTEFACTS = (LogText, LogFile)
_KINDS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        OpenRun, OpenSweep, LogParams, LogDataset, LogPoints, SetTags, SetView, LogText, LogFile,
        CloseRun, CloseSweep,
    )
}  # fmt: skip


def to_plain(record: Record) -> dict[str, Any]:
    """The record as JSON has it; ``from_plain`` is the inverse."""
    return {"record": type(record).__name__, **dataclasses.asdict(record)}


def from_plain(plain: Mapping[str, Any]) -> Record:
    """Read what ``to_plain`` wrote.

    Raises:
        KeyError, TypeError: it is something else.
    """
    fields = dict(plain)
    kind = _KINDS[fields.pop("record")]
    if "points" in fields:
        fields["points"] = tuple(Point(*point) for point in fields["points"])
    if "dataset" in fields:
        given = fields["dataset"]
        fields["dataset"] = DatasetInfo(**{**given, "shape": tuple(given["shape"])})
    return kind(**fields)
