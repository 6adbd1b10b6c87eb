"""How a sweep is judged: the baseline's seeds, the rounds' rules, what counts as no difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kdsweep.config.checks import require

FIRST_BASELINE_SEED = 1_000_000  # cells' own seeds are all below


@dataclass(kw_only=True)
class VerdictConfig:
    """The numbers of the verdict; docs/verdict.md explains them."""

    baseline_seeds: Any = "auto"  # auto: max(seeds, ceil(seeds * sqrt(cells))), and more by round
    first_baseline_seed: int = FIRST_BASELINE_SEED  # the baseline shares no seed with a cell
    margin: float = 0.5  # points within which a difference does not matter
    futility: float | None = None  # |t| up to which a cell leaves undecided; null: by their number
    top: int = 3  # of what a sampler draws: so many of the best race, with fresh seeds

    def __post_init__(self) -> None:
        given = self.baseline_seeds
        whole = isinstance(given, int) and not isinstance(given, bool) and given >= 1
        require(given == "auto" or whole, "verdict.baseline_seeds", given, "auto, or 1 or more")
        require(
            self.first_baseline_seed >= FIRST_BASELINE_SEED,
            "verdict.first_baseline_seed",
            self.first_baseline_seed,
            f"{FIRST_BASELINE_SEED} or more, which is where the cells' seeds end",
        )
        require(
            math.isfinite(self.margin) and self.margin >= 0,
            "verdict.margin",
            self.margin,
            "0 or more points",
        )
        require(
            self.futility is None or (math.isfinite(self.futility) and self.futility >= 0),
            "verdict.futility",
            self.futility,
            "0 or more, or null",
        )

        require(self.top >= 0, "verdict.top", self.top, "0 or more cells")

    def seeds_for(self, seeds: int) -> int:
        """The baseline's seeds beside a cell of so many, where nobody knows of other cells."""
        return seeds if self.baseline_seeds == "auto" else int(self.baseline_seeds)
