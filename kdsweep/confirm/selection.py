"""Which cells a study's validation images favour, frozen before anything else is trained."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from kdsweep.errors import UserError
from kdsweep.results.cells import CellRecords, cells_of, read_records
from kdsweep.results.race import Race
from kdsweep.results.record import Record
from kdsweep.results.summary import more_is_better, swept_keys
from kdsweep.store import write_json

Side = Literal["best", "worst", "both"]
_SIDES: dict[object, Side] = {"best": "best", "worst": "worst", "both": "both"}
MOST = 10_000  # cells, and seeds


def side_of(given: object) -> Side:
    """Which cells, as the user gave it, or a ``UserError``."""
    side = _SIDES.get(given)
    if side is None:
        raise UserError(f"side={given}: allowed is {', '.join(map(str, _SIDES))}")
    return side


def count(key: str, given: object, *, least: int) -> int:
    """How many cells or seeds, as the user gave it, or a ``UserError``."""
    text = str(given)
    number = int(text) if re.fullmatch("[0-9]{1,9}", text) else -1
    if not least <= number <= MOST:
        raise UserError(f"{key}={given}: allowed is a whole number from {least} to {MOST:,}")
    return number


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A chosen cell."""

    trial: int  # of its last round
    point: Mapping[str, str]
    value: float  # the mean of the objective over all seeds, on validation
    difference: float | None  # from the baseline, points
    overrides: tuple[str, ...]
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The choice, and the seeds that it will be confirmed with."""

    study: str
    round: int  # how often the study is confirmed, this time included
    chosen: str  # date and time
    side: Side
    first_seed: int
    seeds: int
    first_baseline_seed: int
    finalists: tuple[Finalist, ...]
    keys: tuple[str, ...] | None = None  # by which the study calls its cells; None: not kept

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The choice in a file; None where there is none.

        Raises:
            UserError: the file is damaged.
        """
        if not path.is_file():
            return None
        try:
            given = json.loads(path.read_bytes())
            finalists = tuple(
                Finalist(**{**one, "overrides": tuple(one["overrides"])})
                for one in given["finalists"]
            )
            keys = given.get("keys")
            named = None if keys is None else tuple(keys)
            return cls(**{**given, "finalists": finalists, "keys": named})
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}: is damaged ({error}); move it away to choose anew") from None

    def write(self, path: Path) -> None:
        """Freeze it."""
        write_json(path, dataclasses.asdict(self))


def choose(
    study: str, folder: Path, *, top: int, side: Side, seeds: int, known: Selection | None
) -> Selection:
    """The finalists of a study by the records in its folder.

    Args:
        study: its name.
        folder: with its records.
        top: how many cells, of each side.
        side: the cells with the best means, the worst, or both.
        seeds: fresh ones of each finalist.
        known: the last choice, whose seeds are not fresh any more.

    Raises:
        UserError: there is nothing to confirm, or nothing to confirm it on.
    """
    race = Race.find(folder)
    axes = None if race is None else race.keys
    known_cells = cells_of(read_records(folder), axes)
    cells = [cell for cell in known_cells if cell.unfinished is None]
    if not cells:
        raise UserError(
            f"study={study}: has no complete cell in {folder}; root= names the folder of its "
            "records"
        )
    if any(cell.last.split != "validation" for cell in cells):
        raise UserError(
            f"study={study}: its cells were read on test (evaluate.protocol=published), so there "
            "is nothing left to confirm on"
        )
    records = [record for cell in cells for record in cell.rounds]
    used = [seed for record in records for seed in record.seeds]
    alone = [one.seed for record in records for one in record.baselines]
    if known is not None:
        used.append(known.first_seed + known.seeds - 1)
        alone.append(known.first_baseline_seed + known.seeds * len(known.finalists))
    ranked = sorted(cells, key=lambda cell: cell.value, reverse=more_is_better(cells[0].last))
    return Selection(
        study=study,
        round=1 if known is None else known.round + 1,
        chosen=datetime.datetime.now().isoformat(timespec="seconds"),
        side=side,
        first_seed=max(used) + 1,
        seeds=seeds,
        first_baseline_seed=max(alone, default=999_999) + 1,
        keys=tuple(swept_keys(known_cells)),
        finalists=tuple(_finalist(cell) for cell in _sides(ranked, top, side)),
    )


def _sides(ranked: Sequence[CellRecords], top: int, side: Side) -> list[CellRecords]:
    best = list(ranked[:top]) if side != "worst" else []
    worst = [cell for cell in reversed(ranked) if cell not in best][:top]
    return best + (worst if side != "best" else [])


def _finalist(cell: CellRecords) -> Finalist:
    last: Record = cell.last
    gains = [g for r in cell.rounds for g in r.metrics("delta_vs_baseline") if g is not None]
    assert last.trial is not None
    return Finalist(
        trial=last.trial,
        point=dict(cell.point),
        value=cell.value,
        difference=sum(gains) / len(gains) if gains else None,
        overrides=last.overrides,
        config=last.config,
    )
