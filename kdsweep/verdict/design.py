"""The design of a race: everything that is fixed before the first training.

A race has several rounds. After each one every cell that is still in is judged, and leaves if it
is decided or unlikely to be. The seeds and the levels of all rounds are part of the design, and
the family of comparisons stays as large as it began, so that no rule of leaving can raise the
error above 1 - level (Magirr, Jaki & Whitehead 2012, Biometrika 99:494).

Comparisons are the cells and, of a complete grid, the averages over each row, each column and the
whole. Each one has its share of the error; that all of them hold at once is at least as probable
as if they were independent, however they are correlated (Sidak 1967; over several rounds, Royen
2014, the Gaussian correlation inequality). An average gets half the share of a cell, for it is
judged once, after the first round, where every cell has the same seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.spending import round_levels

LEVEL = 0.95  # of simultaneous confidence
MARGIN = 0.5  # points

_AVERAGE_SHARE = 0.5  # of the error that a cell has
_FEW = 10  # cells, up to which dropping one early costs more than it saves
_BASELINE_GROWTH = 0.6  # baseline seeds of a later round, of those of the first


def baseline_seeds(n: int, cells: int) -> int:
    """Seeds of a baseline that ``cells`` cells of n seeds are compared with (Dunnett 1955).

    The sum of the cells' standard errors is least, for a given number of trainings, near
    n sqrt(cells).
    """
    exact = math.isqrt(n * n * cells)
    return max(n, exact if exact * exact == n * n * cells else exact + 1)


class Slice(NamedTuple):
    """Which cells an average is over: those at one value of an axis, or all (no axis)."""

    axis: int | None
    at: int

    def of(self, grid: NDArray[Any]) -> NDArray[Any]:
        """The values of a grid, its first dimensions the axes, that the average is over."""
        return grid if self.axis is None else grid.take(self.at, axis=self.axis)


def slices(axes: Sequence[int] | None) -> tuple[Slice, ...]:
    """The averages of a complete grid: along each axis, then over all cells."""
    if axes is None or math.prod(axes) == 1:
        return ()
    long = [axis for axis, length in enumerate(axes) if length > 1]
    levels = long if len(long) > 1 else []  # along a single axis they are the cells
    return (*(Slice(a, i) for a in levels for i in range(axes[a])), Slice(None, 0))


@dataclass(frozen=True, kw_only=True)
class RaceDesign:
    """A race; rounds count from 1."""

    cells: int
    axes: tuple[int, ...] | None  # lengths of a complete grid, the last axis fastest
    groups: tuple[int, ...]  # which baseline each cell is compared with, from 0
    level: float  # simultaneous confidence
    margin: float  # points within which a difference does not matter
    futility: float  # a cell whose |t| is no more leaves undecided
    seeds: tuple[int, ...]  # of a cell, by the end of each round
    baselines: tuple[int, ...]  # seeds of each baseline, by the end of each round
    cell_levels: tuple[float, ...]  # two-sided p by which a cell is decided in each round
    average_level: float  # of an average, after the first round

    @classmethod
    def create(
        cls,
        *,
        cells: int,
        seeds: int,
        rounds: int = 1,
        axes: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        baseline: int | None = None,
        level: float = LEVEL,
        margin: float = MARGIN,
        futility: float | None = None,
    ) -> Self:
        """Plan a race.

        Args:
            cells: how many distilled students are compared with the baseline.
            seeds: of a cell in each round, 2 or more; a single one gives no intervals.
            rounds: 1 judges once.
            axes: lengths of the grid's axes where it is complete, the last one fastest.
            groups: for each cell which baseline it is compared with, where there are several.
            baseline: seeds of each baseline in the first round; by default ``baseline_seeds``.
            level: of the simultaneous confidence intervals.
            margin: points within which a difference does not matter.
            futility: |t| up to which a cell leaves undecided; by default 1 up to 10 cells, else
                1.5. It may be overruled at any time without harm to the level.
        """
        assert cells > 0, cells
        assert rounds > 0, rounds
        assert seeds > 1 or rounds == seeds == 1, (seeds, rounds)
        assert axes is None or math.prod(axes) == cells, (axes, cells)
        group = tuple(groups) if groups is not None else (0,) * cells
        assert len(group) == cells, (len(group), cells)
        assert set(group) == set(range(max(group) + 1)), group
        first = baseline or baseline_seeds(seeds, max(np.bincount(group).tolist()))
        grown = math.ceil(_BASELINE_GROWTH * first)
        own = tuple(seeds * (r + 1) for r in range(rounds))
        theirs = tuple(first + grown * r for r in range(rounds))
        shares = cells + _AVERAGE_SHARE * len(slices(axes))
        error = -math.expm1(math.log(level) / shares)
        # The least information that cells or baseline can have: rounds are then least alike.
        fractions = [min(n / own[-1], n0 / theirs[-1]) for n, n0 in zip(own, theirs, strict=True)]
        return cls(
            cells=cells,
            axes=None if axes is None else tuple(axes),
            groups=group,
            level=level,
            margin=margin,
            futility=(1.0 if cells <= _FEW else 1.5) if futility is None else futility,
            seeds=own,
            baselines=theirs,
            cell_levels=round_levels(error, fractions),
            average_level=-math.expm1(_AVERAGE_SHARE * math.log1p(-error)),
        )

    @property
    def rounds(self) -> int:
        """How often cells are judged, at most."""
        return len(self.seeds)

    @property
    def baseline_count(self) -> int:
        """How many baselines there are."""
        return max(self.groups) + 1

    @property
    def slices(self) -> tuple[Slice, ...]:
        """The averages that are judged."""
        return slices(self.axes)

    def cell_seeds(self, round_: int) -> int:
        """Seeds that a cell still in the race has by the end of a round."""
        return self.seeds[round_ - 1]

    def baseline_seeds(self, round_: int) -> int:
        """Seeds that each baseline has by the end of a round."""
        return self.baselines[round_ - 1]

    def trainings(self, round_: int) -> int:
        """Trainings of cells and baselines by the end of a round that no cell has left before."""
        cells = self.cells * self.cell_seeds(round_)
        return cells + self.baseline_count * self.baseline_seeds(round_)

    def to_dict(self) -> dict[str, Any]:
        """The design in what JSON can hold."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """The design that ``to_dict`` was made of."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()
        }
        return cls(**values)
