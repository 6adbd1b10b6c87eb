"""The record of a job: one JSON file in its folder, the source of every table and verdict."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kdsweep.errors import UserError
from kdsweep.store import write_json

RECORD = "result.json"
VERSION = 2  # of the file; raise it when a field changes its meaning
COMPLETE, FAILED, PRUNED = "complete", "failed", "pruned"

log = logging.getLogger(__name__)

Metrics = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a job was trained by, and when."""

    device: str
    kdsweep: str  # versions
    torch: str
    python: str
    git_revision: str  # of the folder that the user worked in, or "none"
    started: str  # date and time of its batch, UTC


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The evaluation images of which a network is about as sure."""

    number: int  # of equal bins of confidence, from 0
    images: int
    confidence: float  # their mean, percent
    right: float  # percent


@dataclass(frozen=True, kw_only=True)
class NetworkRecord:
    """A teacher, or a baseline with one seed."""

    key: str  # what it is stored under
    name: str  # of its architecture
    seed: int
    metrics: Metrics
    per_class: Metrics  # percent right, by class
    costs: Metrics
    history: tuple[Metrics, ...] = ()  # of each epoch
    reliability: tuple[Bin, ...] = ()  # by confidence, rising


@dataclass(frozen=True, kw_only=True)
class SeedRecord:
    """One student: a job with one seed."""

    status: str  # finished, diverged, dropped or failed
    reason: str | None
    seconds: float
    run_id: str | None  # MLflow's
    metrics: Metrics
    per_class: Metrics
    history: tuple[Metrics, ...]  # of each epoch
    reliability: tuple[Bin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of a job: a cell of a sweep in one round, or a single experiment."""

    study: str | None
    trial: int | None
    round: int  # of the race, from 1
    overrides: tuple[str, ...]
    state: str  # complete, failed or pruned
    reason: str | None
    objectives: tuple[str, ...]
    values: tuple[float, ...]  # means over seeds; empty unless every seed has finished
    split: str  # validation or test: which images the values are of
    images: int  # how many of them
    run_id: str | None
    seconds: float
    costs: Metrics
    config: Mapping[str, Any]
    seeds: Mapping[int, SeedRecord]
    baselines: tuple[NetworkRecord, ...]
    teacher: NetworkRecord | None
    environment: Environment | None = None  # None where no seed could be trained
    version: int = field(default=VERSION)

    @property
    def settled(self) -> bool:
        """Whether training it again could not say more."""
        return self.state in (COMPLETE, PRUNED)

    @property
    def prefix(self) -> str:
        """In front of the names of metrics."""
        return "val" if self.split == "validation" else self.split

    def metrics(self, name: str) -> list[float | None]:
        """A metric of each seed, in their order; None where it was not measured."""
        return [self.seeds[seed].metrics.get(name) for seed in sorted(self.seeds)]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        plain = dataclasses.asdict(self)
        plain["seeds"] = {str(seed): one for seed, one in plain["seeds"].items()}
        return plain

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """The record that ``to_json`` was made of.

        Raises:
            TypeError: a field is missing, or unknown.
            ValueError: of another version.
        """
        if given.get("version") != VERSION:
            raise ValueError(f"version {given.get('version')}, not {VERSION}")
        seeds = {int(seed): SeedRecord(**_typed(one)) for seed, one in given["seeds"].items()}
        teacher, environment = given["teacher"], given.get("environment")
        return cls(
            **{
                **given,
                "overrides": tuple(given["overrides"]),
                "objectives": tuple(given["objectives"]),
                "values": tuple(given["values"]),
                "seeds": seeds,
                "baselines": tuple(NetworkRecord(**_typed(one)) for one in given["baselines"]),
                "teacher": None if teacher is None else NetworkRecord(**_typed(teacher)),
                "environment": None if environment is None else Environment(**environment),
            }
        )


def _typed(given: Mapping[str, Any]) -> dict[str, Any]:
    bins = tuple(Bin(**one) for one in given.get("reliability", ()))  # 0.1.0 has written none
    return {**given, "history": tuple(given["history"]), "reliability": bins}


def write_record(folder: Path, record: Record) -> None:
    """Put the record into a job's folder, whole or not at all."""
    write_json(folder / RECORD, record.to_json())


def find_record(folder: Path) -> Record | None:
    """The record in a job's folder; None where there is none, or none that can be read."""
    path = folder / RECORD
    try:
        return Record.from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s can't be read and counts as none: %s", path, error)
        return None


def read_record(folder: Path) -> Record:
    """The record in a job's folder.

    Raises:
        UserError: there is none, or it can't be read.
    """
    path = folder / RECORD
    try:
        return Record.from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path}: is gone; root= names the folder that holds it") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: is damaged ({error}); the sweep's command trains that cell again"
        ) from None
