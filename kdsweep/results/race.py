"""A study's race: its design beside its cells, and its verdicts from the records alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kdsweep.errors import UserError, first_line
from kdsweep.results.cells import DRAWN, CellRecords, short_value
from kdsweep.store import write_json
from kdsweep.verdict import Axis, Cell, Outcome, RaceDesign, judge, judge_rounds

RACE = "race.json"  # in a study's folder

Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Race:
    """What is fixed before the first training: the design, and the cells in its order."""

    design: RaceDesign
    points: tuple[Mapping[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {"design": self.design.to_dict(), "points": [dict(p) for p in self.points]}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """The race that ``to_json`` was made of.

        Raises:
            KeyError, TypeError: a field is missing, or unknown.
            ValueError: it has not a point for each cell.
        """
        race = cls(design=RaceDesign.from_dict(given["design"]), points=tuple(given["points"]))
        if len(race.points) != race.design.cells:
            raise ValueError(f"{len(race.points)} points for {race.design.cells} cells")
        return race

    def write(self, folder: Path) -> None:
        """Put it into the study's folder, for whoever reads its records there."""
        write_json(folder / RACE, self.to_json())

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """The race of the study in this folder; None where it has none.

        Raises:
            UserError: the file is damaged.
        """
        path = folder / RACE
        try:
            return cls.from_json(json.loads(path.read_bytes())) if path.is_file() else None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path}: is damaged ({first_line(error)}); the sweep's command writes it again"
            ) from None

    @classmethod
    def of(cls, cells: Sequence[CellRecords], *, margin: float) -> Self | None:
        """A race of one round over cells as they are; None where one seed shows no spread.

        Cells without a baseline, whose teacher could not be trained, are left out.
        """
        cells = [cell for cell in cells if cell.baselines]
        seeds = min((len(cell.scores("")) for cell in cells), default=0)
        if seeds < 2:
            return None
        keys = [frozenset(one.key for one in cell.baselines.values()) for cell in cells]
        groups = [sorted(set(keys), key=keys.index).index(key) for key in keys]
        design = RaceDesign.create(
            cells=len(cells),
            seeds=seeds,
            axes=grid_axes([cell.point for cell in cells]),
            groups=groups,
            baseline=min(len(cell.baselines) for cell in cells),
            margin=margin,
        )
        return cls(design=design, points=tuple(cell.point for cell in cells))

    def judge(self, cells: Sequence[CellRecords], metric: str) -> Outcome:
        """The verdicts as far as the records go; of cells in any order, as ``judge_rounds``."""
        return judge(self.design, *self._scores(cells, metric))

    def judge_rounds(self, cells: Sequence[CellRecords], metric: str) -> list[Outcome]:
        """The verdicts after each complete round.

        Args:
            cells: of the study, in any order, with the scores of its race; those that have no
                record yet count as begun.
            metric: in percent, higher is better.
        """
        return judge_rounds(self.design, *self._scores(cells, metric))

    def _scores(
        self, cells: Sequence[CellRecords], metric: str
    ) -> tuple[list[Scores], list[Scores]]:
        """Of each cell in the design's order, and of each baseline."""
        by_point = {self._key(cell.point): cell for cell in cells}
        found = [by_point.get(self._key(point)) for point in self.points]
        none = np.array([])
        scores = [none if cell is None else _from_the_first(cell).scores(metric) for cell in found]
        return scores, self._baselines(found, metric)

    def labels(self) -> list[str]:
        """What each cell is called: its varying keys with their values."""
        keys = self._varying()
        named = [
            {key.rpartition(".")[2]: short_value(p.get(key, "")) for key in keys}
            for p in self.points
        ]
        return [" ".join(f"{k}={v}" for k, v in one.items()) or "the cell" for one in named]

    def axes(self) -> list[Axis]:
        """The axes of a complete grid, in the design's order."""
        return [
            Axis(key.rpartition(".")[2], list(dict.fromkeys(p[key] for p in self.points)))
            for key in (self._varying() if self.design.axes is not None else [])
        ]

    def _varying(self) -> list[str]:
        return varying(self.points)

    def in_order_of(
        self, cells: Sequence[CellRecords], verdicts: Sequence[Cell]
    ) -> list[Cell | None]:
        """The verdicts, which are in the design's order, in the order of ``cells``."""
        found = dict(zip(map(self._key, self.points), verdicts, strict=True))
        return [found.get(self._key(cell.point)) for cell in cells]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that tell the cells apart."""
        return tuple(self.points[0])

    def _key(self, point: Mapping[str, str]) -> tuple[str | None, ...]:
        return tuple(point.get(key) for key in self.keys)

    def _baselines(self, cells: Sequence[CellRecords | None], metric: str) -> list[Scores]:
        """The scores of each baseline, in the order of their seeds."""
        scores: list[dict[int, float]] = [{} for _ in range(self.design.baseline_count)]
        for cell, group in zip(cells, self.design.groups, strict=True):
            for seed, one in ({} if cell is None else cell.baselines).items():
                scores[group][seed] = one.metrics.get(metric, np.nan)
        return [np.array([by_seed[seed] for seed in sorted(by_seed)]) for by_seed in scores]


def _from_the_first(cell: CellRecords) -> CellRecords:
    """The cell up to a round whose record is gone: later seeds are not an earlier round's."""
    first = min(cell.rounds[0].round, DRAWN + 1)
    kept = [record for number, record in enumerate(cell.rounds, first) if record.round == number]
    return dataclasses.replace(cell, rounds=tuple(kept))


def grid_axes(points: Sequence[Mapping[str, str]]) -> tuple[int, ...] | None:
    """The lengths of a complete grid's axes, the last one fastest; None where it is not one."""
    keys = varying(points)
    if not keys or any(key not in point for key in keys for point in points):
        return None
    levels = [list(dict.fromkeys(point[key] for point in points)) for key in keys]
    lengths = tuple(map(len, levels))
    if int(np.prod(lengths)) != len(points):
        return None
    order = [
        tuple(level.index(point[key]) for key, level in zip(keys, levels, strict=True))
        for point in points
    ]
    return lengths if order == list(np.ndindex(lengths)) else None


def varying(points: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys in which points differ, in the order of the command line."""
    return [key for key in points[0] if len({point.get(key) for point in points}) > 1]
