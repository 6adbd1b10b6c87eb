"""The cells of a study: the records of each point of the sweep, one for each round."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsweep.results.record import COMPLETE, RECORD, NetworkRecord, Record, find_record

# What a job is given beside its point: where it belongs, which seeds it trains, how it is run.
_LONG = 10  # characters of a number that nobody has typed
DRAWN = 0  # the round of what a sampler draws, before the race
BOOKKEEPING = (
    "study", "trial", "round", "rounds", "seed", "seeds", "root", "storage", "verdict",
    "train.threads", "train.fuse", "train.bank", "train.channels_last",
    "train.checkpoint_every",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CellRecords:
    """One point of the sweep, and the records of its rounds in their order."""

    point: Mapping[str, str]  # what was set on the command line, by key
    rounds: tuple[Record, ...]

    @property
    def last(self) -> Record:
        """Of the latest round."""
        return self.rounds[-1]

    @property
    def unfinished(self) -> Record | None:
        """The first round that is not complete."""
        return next((record for record in self.rounds if record.state != COMPLETE), None)

    @property
    def value(self) -> float:
        """The mean of the first objective over all seeds; every round is complete."""
        weights = [len(record.seeds) for record in self.rounds]
        values = [record.values[0] for record in self.rounds]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    @property
    def seconds(self) -> float:
        """Of training, all seeds added up."""
        return sum(record.seconds for record in self.rounds)

    def scores(self, metric: str) -> NDArray[np.float64]:
        """A metric of every seed in the order of the rounds; NaN where a seed failed."""
        values = [value for record in self.rounds for value in record.metrics(metric)]
        return np.array([math.nan if value is None else value for value in values])

    @property
    def baselines(self) -> dict[int, NetworkRecord]:
        """Its baselines, by seed."""
        return {one.seed: one for record in self.rounds for one in record.baselines}


def short_value(value: object) -> str:
    """A value in a label: of what a sampler has drawn the first digits, which tell it apart."""
    text = str(value)
    try:
        return f"{float(text):.5g}" if len(text) > _LONG else text
    except ValueError:
        return text


def read_records(folder: Path) -> list[Record]:
    """Every record under a study's folder that can be read, by trial number."""
    found = [find_record(path.parent) for path in folder.glob(f"*/{RECORD}")]
    records = [record for record in found if record is not None]
    return sorted(records, key=lambda record: (record.trial is None, record.trial or 0))


def point_of(overrides: Sequence[str]) -> dict[str, str]:
    """What was set on the command line, by key, without what belongs to the job alone."""
    pairs = (item.partition("=") for item in overrides if "=" in item)
    found = {key.lstrip("+"): value for key, _, value in pairs}
    return {
        key: value
        for key, value in found.items()
        if key not in BOOKKEEPING
        and not key.startswith(("verdict.", "tracking", "engine", "hydra."))
    }


def cells_of(records: Sequence[Record], axes: Sequence[str] | None = None) -> list[CellRecords]:
    """Records by cell, in the order of first trials; of a round trained twice the later one.

    Scores by which a sampler chose are left out where a cell has others: they flatter it.

    Args:
        records: of one study.
        axes: the keys that tell its cells apart; None: all that were given.
    """
    by_cell: dict[str, dict[int, Record]] = {}
    for record in records:
        given = point_of(record.overrides)
        key = json.dumps({k: v for k, v in given.items() if axes is None or k in axes})
        by_cell.setdefault(key, {})[record.round] = record
    cells = []
    for rounds in by_cell.values():
        raced = [number for number in sorted(rounds) if number > DRAWN] or [DRAWN]
        kept = tuple(rounds[number] for number in raced)
        cells.append(CellRecords(point=point_of(kept[0].overrides), rounds=kept))
    return cells
