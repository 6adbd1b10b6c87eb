"""Simulated races: how often verdicts err, what they find, and what that costs.

``python -m kdsweep.bench.verdicts`` prints the tables of docs/verdict.md, made with the functions
that judge a study. ``maps=N`` sets how many maps are simulated for each figure.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdsweep.errors import UserError
from kdsweep.verdict.design import RaceDesign
from kdsweep.verdict.race import BETTER, OPEN, WORSE, Race, race

Array = NDArray[np.float64]

SD = 0.8  # points, between seeds
README = np.array([
    [0.47, 0.61, 0.47, 0.61, 0.49],
    [1.60, 1.63, 1.04, 1.28, 0.94],
    [2.34, 2.04, 1.97, 1.74, 1.33],
    [3.12, 2.25, 1.88, 1.38, 0.98],
    [3.39, 2.27, 1.36, 0.80, 0.40],
])  # fmt: skip  # points; rows alpha .1 to .9, columns temperature 1 to 5
SIZES = ((2,), (5,), (5, 5), (5, 5, 5))
_CHUNK = 200_000  # numbers in the largest array: what a processor's cache holds


@dataclass(frozen=True, kw_only=True)
class World:
    """How scores vary between seeds; standard deviations are multiples of ``SD``."""

    baseline: float = 1.0
    cells: float = 1.0
    uneven: float = 0.0  # standard deviation of the log of the cells' standard deviations
    first: float = 1.0  # of the first cell
    half: float = 1.0  # of the first half of the cells
    shared: float = 0.0  # of the variance: what a seed does to all cells alike
    tails: float = math.inf  # degrees of freedom of Student's t; infinite: normal

    def draw(self, rng: np.random.Generator, maps: int, design: RaceDesign) -> tuple[Array, Array]:
        """Scores [maps, cells, n] and baselines [maps, 1, n0] that do not differ, in points."""
        n, n0 = design.seeds[-1], design.baselines[-1]
        sd = self.cells * np.exp(self.uneven * rng.standard_normal((maps, design.cells, 1)))
        sd[:, : design.cells // 2] *= self.half
        sd[:, 0] *= self.first
        own = self._noise(rng, maps, design.cells, n)
        common = self._noise(rng, maps, 1, n)
        mixed = math.sqrt(self.shared) * common + math.sqrt(1.0 - self.shared) * own
        return SD * sd * mixed, SD * self.baseline * self._noise(rng, maps, 1, n0)

    def _noise(self, rng: np.random.Generator, *shape: int) -> Array:
        if math.isinf(self.tails):
            return rng.standard_normal(shape)
        scale = math.sqrt((self.tails - 2.0) / self.tails)
        return np.asarray(scale * rng.standard_t(self.tails, shape))


WORLDS = {
    "equal": World(),
    "spreads uneven, log-sd .35": World(uneven=0.35),
    "half of the cells 2x": World(half=2.0),
    "one cell 3x": World(first=3.0),
    "baseline 2x": World(baseline=2.0),
    "t noise, 5 df": World(tails=5.0),
    "cells share seeds, r .3": World(shared=0.3),
    "cells share seeds, r .6": World(shared=0.6),
    "cells share seeds, r .9": World(shared=0.9),
}


class Result(NamedTuple):
    """What became of the simulated maps; each array's first dimension is maps."""

    missed: NDArray[np.bool_]  # [maps]: any interval that misses its true difference
    better: NDArray[np.bool_]  # [maps, cells]
    worse: NDArray[np.bool_]
    averages: NDArray[np.int64]  # [maps, slices]: verdict codes
    trainings: NDArray[np.int64]  # [maps]


def simulate(
    design: RaceDesign, world: World, truth: Array | float = 0.0, *, maps: int, seed: int = 0
) -> Result:
    """Race simulated maps; truth [cells] or a number, in points."""
    rng = np.random.default_rng(seed)
    true = np.broadcast_to(np.asarray(truth, np.float64).ravel(), (design.cells,))
    size = max(1, _CHUNK // (design.cells * max(design.seeds[-1], design.cells)))
    parts = []
    for start in range(0, maps, size):
        scores, baselines = world.draw(rng, min(size, maps - start), design)
        scores += true[:, None]
        parts.append(_result(design, race(design, scores, baselines), true))
    return Result(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _result(design: RaceDesign, ran: Race, true: Array) -> Result:
    grid = true.reshape(design.axes or (design.cells,))
    means = [float(slice_.of(grid).mean()) for slice_ in design.slices]
    missed = np.zeros(len(ran.racing), bool)
    for part, truths in ((ran.cells, true), (ran.averages, np.array(means))):
        missed |= ((part.low > truths) | (part.high < truths)).any(axis=1)
    cells = np.array(design.seeds)[ran.last - 1].sum(axis=1)
    theirs = np.array(design.baselines)[ran.baseline_last - 1].sum(axis=1)
    better, worse = ran.cells.verdict == BETTER, ran.cells.verdict == WORSE
    return Result(missed, better, worse, ran.averages.verdict, cells + theirs)


def planned(axes: Sequence[int], *, rounds: int = 4, seeds: int = 3) -> RaceDesign:
    """The default race of a complete grid."""
    return RaceDesign.create(cells=math.prod(axes), seeds=seeds, rounds=rounds, axes=axes)


def undropped(design: RaceDesign) -> RaceDesign:
    """The same race if nothing left before it is decided: the most that its error can be."""
    return replace(design, futility=0.0, margin=0.0)


def _percent(share: NDArray[np.bool_]) -> str:
    return f"{100.0 * float(np.mean(share)):.1f}"


def error_table(maps: int) -> Iterator[str]:
    """Family-wise error of null maps, in percent."""
    yield "| world | " + " | ".join(f"{math.prod(s)} cells" for s in SIZES) + " |"
    yield "|---" * (len(SIZES) + 1) + "|"
    for name, world in WORLDS.items():
        line = f"| {name} "
        for axes in SIZES:
            design = planned(axes)
            some = maps if math.prod(axes) <= 25 else maps // 4
            errors = (
                _percent(simulate(each, world, maps=some).missed)
                for each in (design, undropped(design), planned(axes, rounds=1))
            )
            line += "| " + " / ".join(errors) + " "
        yield line + "|"


def power_table(maps: int) -> Iterator[str]:
    """What is found of one cell that differs, and what the race costs."""
    yield "| cells | world | truth | found, % | trainings: mean, 10 to 90 % |"
    yield "|---|---|---|---|---|"
    for axes in ((5,), (5, 5)):
        for name in ("equal", "spreads uneven, log-sd .35", "baseline 2x"):
            for effect in (0.0, 1.0, 1.5, 2.0):
                design = planned(axes)
                truth = np.zeros(design.cells)
                truth[0] = effect
                found = simulate(design, WORLDS[name], truth, maps=maps)
                said = f"one at {effect:+g}" if effect else "nothing differs"
                power = _percent(found.better[:, 0]) if effect else "–"
                yield f"| {design.cells} | {name} | {said} | {power} | {_trainings(found)} |"


def map_table(maps: int) -> Iterator[str]:
    """The README's map, and others like it, as the truth."""
    yield "| truth | rounds | cells rightly, wrongly decided | whole | rows | columns | cost |"
    yield "|---|---|---|---|---|---|---|"
    truths = {"README": README, "half README": 0.5 * README, "README - 2": README - 2.0}
    measured = World(cells=0.6 / SD, baseline=1.0 / SD)
    for name, truth in truths.items():
        for rounds in (4, 1):
            found = simulate(planned((5, 5), rounds=rounds), measured, truth, maps=maps)
            right = np.where(truth.ravel() > 0.0, found.better, found.worse).sum(axis=1)
            wrong = np.where(truth.ravel() > 0.0, found.worse, found.better).sum(axis=1)
            decided = [f"{100.0 * each:.0f}" for each in (found.averages != OPEN).mean(axis=0)]
            yield (
                f"| {name} | {rounds} | {right.mean():.1f}, {wrong.mean():.2f} | {decided[10]} "
                f"| {' '.join(decided[:5])} | {' '.join(decided[5:10])} | {_trainings(found)} |"
            )


def _trainings(found: Result) -> str:
    low, high = np.quantile(found.trainings, [0.1, 0.9])
    return f"{found.trainings.mean():.0f}, {low:.0f} to {high:.0f}"


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables.

    Raises:
        UserError: an argument is not maps=N.
    """
    maps = 4000
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key != "maps" or not value.isdecimal() or int(value) < 4:
            raise UserError(f"{argument}: allowed is maps=N, from 4 up")
        maps = int(value)
    heads = {
        "Family-wise error, % (race / race without dropping / one round)": error_table,
        "One cell differs": power_table,
        "Maps; averages: % decided": map_table,
    }
    for head, table in heads.items():
        print(f"\n{head}; {maps} maps each\n", flush=True)
        for line in table(maps):
            print(line, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
