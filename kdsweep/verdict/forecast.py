"""What a race will cost and what it can find, before anything is trained.

Both are simulated with the race itself, on normal seeds of equal spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict.design import RaceDesign
from kdsweep.verdict.race import BETTER, race

Array = NDArray[np.float64]

POWER = 0.9  # with which the stated effect is found

_CELLS = 40  # simulated at most: what becomes of a cell hardly depends on the others
_DRAWS = 8_000  # cells in all of the simulated maps
_EFFECTS = np.linspace(0.5, 8.0, 31)  # standard deviations
_VARIED = 1.5  # standard deviation of the cells' true differences, in those between seeds


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The price of a race in trainings, and the difference that it finds with ``POWER``."""

    design: RaceDesign
    now: int  # in the first round
    most: int
    usual: tuple[int, int]  # most races end between
    effect: float  # in standard deviations between seeds
    sd: float | None  # points

    @property
    def effect_points(self) -> float | None:
        """The effect in points, where a standard deviation was given."""
        return None if self.sd is None else self.effect * self.sd


def forecast(design: RaceDesign, *, sd: float | None = None) -> Forecast:
    """Say what a race costs and what it finds.

    The usual cost runs from the lower decile of maps on which nothing differs to the upper decile
    of maps whose true differences vary with 1.5 standard deviations between seeds.

    Args:
        design: of the race.
        sd: standard deviation between seeds in points, as from an earlier study; without it
            nothing is taken to be equivalent, and the effect has no points.
    """
    cells = min(design.cells, _CELLS)
    part = replace(
        design,
        cells=cells,
        axes=None,
        groups=(0,) * cells,
        margin=0.0 if sd is None else design.margin / sd,
    )
    maps = -(-_DRAWS // cells)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((maps, cells, design.seeds[-1]))
    baseline = rng.standard_normal((maps, 1, design.baselines[-1]))
    truths = _VARIED * rng.standard_normal((maps, cells, 1))
    null = _cost(design, part, noise, baseline)
    varied = _cost(design, part, noise + truths, baseline)
    usual = round(float(np.quantile(null, 0.1))), round(float(np.quantile(varied, 0.9)))
    return Forecast(
        design=design,
        now=design.trainings(1),
        most=design.trainings(design.rounds),
        usual=usual,
        effect=_effect(part, noise, baseline),
        sd=sd,
    )


def _cost(design: RaceDesign, part: RaceDesign, scores: Array, baseline: Array) -> Array:
    """Trainings of each simulated race [maps], scaled up to all of the design's cells."""
    ran = race(part, scores, baseline)
    cells = np.array(design.seeds)[ran.last - 1].mean(axis=1) * design.cells
    theirs = np.array(design.baselines)[ran.baseline_last[:, 0] - 1] * design.baseline_count
    return np.asarray(cells + theirs)


def _effect(part: RaceDesign, noise: Array, baseline: Array) -> float:
    """The true difference that is found with ``POWER``: every cell of a map has another one."""
    which = np.add.outer(np.arange(len(noise)), np.arange(part.cells)) % len(_EFFECTS)
    found = race(part, noise + _EFFECTS[which][..., None], baseline).cells.verdict == BETTER
    share = np.array([found[which == i].mean() for i in range(len(_EFFECTS))])
    rising = np.maximum.accumulate(share)
    if rising[-1] < POWER:
        return math.inf
    after = int(np.argmax(rising >= POWER))
    if after == 0:
        return float(_EFFECTS[0])
    return float(np.interp(POWER, rising[after - 1 : after + 1], _EFFECTS[after - 1 : after + 1]))
