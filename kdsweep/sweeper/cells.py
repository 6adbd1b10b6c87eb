"""The cells of a sweep: each composed, typed and planned once, before the first is trained."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.config import Config
from kdsweep.config.typed import typed
from kdsweep.data.device import Datasets
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import Plan, plan, refuse_idle_axes
from kdsweep.sweeper.compose import Composer

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from kdsweep.sweeper.space import Space

log = logging.getLogger(__name__)
MANY = 100  # cells whose checks take long enough to say so, a second or two
SOME = 500  # cells after which it is said how far the checks are

Point = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A cell that can be trained."""

    overrides: tuple[str, ...]
    config: Config


class Cells:
    """What is checked, and kept for training.

    Args:
        context: Hydra's.
        config: of the sweep.
        space: of its cells.
        datasets: those that are loaded.
    """

    def __init__(
        self, context: HydraContext, config: DictConfig, space: Space, datasets: Datasets
    ) -> None:
        self.composer = Composer(context, config)
        self.space = space
        self.datasets = datasets
        self.known: dict[frozenset[tuple[str, Any]], Checked] = {}
        self.plans: list[Plan] = []

    def check(self, points: Sequence[Point]) -> None:
        """Check points before anything is trained: the cells of a grid, or corners of a space.

        Raises:
            UserError: the first thing that can't be had as it was asked for.
        """
        if len(points) > MANY:
            log.info("checking %d cells", len(points))
        self.first = self.composer.compose(self.space.overrides(points[0]))
        checked = []
        for number, point in enumerate(points, start=1):
            checked.append(self._checked(point))
            if number % SOME == 0 and number < len(points):
                log.info("checked %d of %d cells", number, len(points))
        self.plans = plan([_job(one) for one in checked], self.datasets)
        refuse_idle_axes(self.plans)  # of the whole sweep: a batch may well share a value

    @property
    def config(self) -> Config:
        """Of any cell, for what they share."""
        return self.plans[0].config

    @property
    def plugins(self) -> dict[str, str]:
        """Of all cells, as their configurations have them."""
        return {k: v for one in self.known.values() for k, v in one.config.plugins.items()}

    def of(self, point: Point) -> Checked:
        """A point's cell; what a sampler has drawn is checked when it is first asked for."""
        if (known := self.known.get(frozenset(point.items()))) is not None:
            return known
        checked = self._checked(point)
        there = {one.key for one in self.plans}
        self.plans += [one for one in plan([_job(checked)], self.datasets) if one.key not in there]
        return checked

    def _checked(self, point: Point) -> Checked:
        overrides = tuple(self.space.overrides(point))
        made = Checked(overrides=overrides, config=typed(self.composer.compose(overrides)))
        self.known[frozenset(point.items())] = made
        return made


def _job(cell: Checked) -> Job:
    config = dataclasses.replace(cell.config, trial=0)  # of a sweep
    return Job(config=config, folder=Path(), overrides=cell.overrides)
