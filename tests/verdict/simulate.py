"""Simulated maps, and how often a method is wrong on them.

``python -m tests.verdict.simulate`` prints the figures that ``kdsweep.verdict.maps`` quotes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdsweep.verdict import estimate
from kdsweep.verdict.maximum import critical_value, exceedance

Array = NDArray[np.float64]
Method = Callable[[Array, Array], estimate.Estimate]


@dataclass(frozen=True, kw_only=True)
class World:
    """How the scores of null cells vary; a member's standard deviation is 1 unless said."""

    seed_share: float = 0.0  # of the variance: what a seed does to every member alike
    group: int = 1  # cells in a row that are akin
    group_share: float = 0.0  # of the variance: what akin cells have in common on a seed
    uneven: float = 0.0  # standard deviation of the log of the cells' standard deviations
    first: float = 1.0  # standard deviation of the first cell
    half: float = 1.0  # standard deviation of the first half of the cells
    baseline: float = 1.0  # standard deviation of the baseline
    skewed: bool = False  # exponential instead of normal

    def draw(
        self, rng: np.random.Generator, maps: int, cells: int, n: int, n0: int
    ) -> tuple[Array, Array]:
        """Scores [maps, cells, n] and baselines [maps, n0] without any difference."""

        def noise(*shape: int) -> Array:
            if self.skewed:
                return rng.standard_exponential(shape) - 1.0
            return rng.standard_normal(shape)

        sd = np.exp(self.uneven * rng.standard_normal((maps, cells, 1)))
        sd[:, : cells // 2] *= self.half
        sd[:, 0] *= self.first
        akin = noise(maps, -(-cells // self.group), n)[:, np.arange(cells) // self.group]
        own = self.group_share**0.5 * akin + (1.0 - self.group_share) ** 0.5 * noise(
            maps, cells, n
        )
        seed = rng.standard_normal((maps, 1, n0))
        scores = sd * _mix(self.seed_share, seed[:, :, :n], own)
        baseline = self.baseline * _mix(self.seed_share, seed[:, 0], noise(maps, n0))
        return scores, baseline


def _mix(share: float, common: Array, own: Array) -> Array:
    return np.asarray(share**0.5 * common + (1.0 - share) ** 0.5 * own)


WORLDS = {
    "equal": World(),
    "seeds matter": World(seed_share=0.5),
    "seeds rule": World(seed_share=0.9),
    "cells akin": World(group=5, group_share=0.9),
    "uneven": World(uneven=0.35),
    "one cell 3x": World(first=3.0),
    "half 2x": World(half=2.0),
    "baseline 2x": World(baseline=2.0),
    "skewed": World(skewed=True),
}


def errors(estimated: estimate.Estimate, truth: float = 0.0, level: float = 0.05) -> float:
    """Share of maps in which any cell's simultaneous interval misses its true difference."""
    cells = estimated.difference.shape[-1]
    worst = (np.abs(estimated.difference - truth) / estimated.error).max(axis=-1)
    correlation = estimated.correlation
    # No critical value is below the one of the highest correlation and sure variances.
    least = critical_value(level=1.0 - level, cells=cells, correlation=float(correlation.max()))
    doubt = worst > least
    p = exceedance(
        worst[doubt],
        cells=cells,
        correlation=correlation[doubt],
        common_df=estimated.common_df[doubt],
        own_df=estimated.own_df[doubt],
    )
    return float((p < level).sum()) / len(worst)


def half_width(estimated: estimate.Estimate, maps: int = 40) -> float:
    """Median half-width of the intervals, over the first maps and their cells."""
    widths = [
        critical_value(
            level=0.95,
            cells=estimated.difference.shape[-1],
            correlation=float(estimated.correlation[i]),
            common_df=float(estimated.common_df[i]),
            own_df=float(estimated.own_df[i]),
        )
        * estimated.error[i]
        for i in range(maps)
    ]
    return float(np.median(widths))


def main() -> None:
    sizes = [(1, n, n) for n in (3, 5, 10, 20)]
    sizes += [(k, n, n) for n in (3, 5, 10, 20) for k in (5, 25)]
    sizes += [(125, 3, 3), (125, 5, 5), (25, 3, 15), (5, 5, 11), (25, 5, 25), (125, 5, 56)]
    methods: dict[str, Method] = {
        "blocked": estimate.blocked,
        "independent": estimate.independent,
        "dunnett": estimate.dunnett,
    }
    print("cells n n0 world; of each method: % of maps in error, half-width")
    for cells, n, n0 in sizes:
        for name, world in WORLDS.items():
            drawn = world.draw(np.random.default_rng(0), 2000, cells, n, n0)
            line = f"{cells:4} {n:3} {n0:3} {name:13}"
            for label, method in methods.items():
                found = method(*drawn)
                line += f" {label} {100 * errors(found):5.1f} {half_width(found):6.2f} |"
            print(line, flush=True)


if __name__ == "__main__":
    main()
