"""What a study trains, round by round: the cells of a grid, or draws and then the best of them.

A grid with several seeds is a race: after each round, cells that are decided or hopeless leave.
What a sampler draws has no verdict of its own; the best of it race with fresh seeds. Which cells
go on is a function of the records alone, so every process comes to the same rounds.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from kdsweep.config import Config
from kdsweep.errors import UserError
from kdsweep.hardware.choose import batch_of_cells, usable_cores
from kdsweep.results.cells import CellRecords, cells_of, point_of_overrides, read_records
from kdsweep.results.race import Race, grid_axes
from kdsweep.run.job import Job
from kdsweep.run.plan import Plan
from kdsweep.sweep.binding import adopt_race
from kdsweep.sweep.cells import Cells, Point
from kdsweep.sweep.study import Claim, SweepStudy, Unit
from kdsweep.teachers.keys import baseline_key
from kdsweep.verdict import Outcome, RaceDesign, baseline_seeds, forecast, forecast_line

log = logging.getLogger(__name__)
DRAWN = 0  # the round of what a sampler draws: before the race


class Rounds:
    """Where a study stands, and what it trains next.

    Args:
        study: opened.
        cells: checked.
        points: of the grid; none where a sampler draws.
        folder: of the study, with its records.
        n_trials: that a sampler draws.
    """

    def __init__(
        self,
        study: SweepStudy,
        cells: Cells,
        points: Sequence[Point],
        folder: Path,
        n_trials: int,
    ) -> None:
        self.study = study
        self.cells = cells
        self.config: Config = cells.config
        self.points = points
        self.folder = folder
        self.n_trials = n_trials
        self.race: Race | None = None
        self.outcome: Outcome | None = None
        self.units = [Unit.of(point, 1) for point in points]

    @property
    def races(self) -> bool:
        """Whether cells are judged in rounds."""
        config = self.config
        return config.seeds > 1 and config.objectives == ("accuracy",) and config.pruner.name == "none"
