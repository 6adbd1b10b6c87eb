"""What a study trains, round by round: the cells of a grid, or draws and then the best of them.

A grid with several seeds is a race: after each round, cells that are decided or hopeless leave.
What a sampler draws has no verdict of its own; the best of it race with fresh seeds. Which cells
go on is a function of the records alone, so every process comes to the same rounds.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from kdsweep.config import Config
from kdsweep.errors import UserError
from kdsweep.jobs.grouping import group_key
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import warn_of_idle_average
from kdsweep.results.cells import DRAWN, cells_of, read_records
from kdsweep.results.race import Race, grid_axes
from kdsweep.sweeper.binding import adopt_race, find_race
from kdsweep.sweeper.cells import Cells, Point
from kdsweep.sweeper.standing import standing
from kdsweep.sweeper.study import Claim, SweepStudy, Unit, unit_of
from kdsweep.teachers.keys import baseline_key
from kdsweep.terminal.screen import Standing
from kdsweep.verdict import (
    Outcome,
    RaceDesign,
    baseline_seeds,
    forecast,
    forecast_sentence,
    round_sentence,
)

log = logging.getLogger(__name__)


class Rounds:
    """Where a study stands, and what it trains next.

    Args:
        study: opened, and held while this is made.
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
        self.points = list(points)
        self.folder = folder
        self.n_trials = n_trials
        self.outcome: Outcome | None = None
        self.told = 0  # rounds
        self.grid = bool(points)
        self.race = find_race(study.study)
        self.units = [Unit.of(point, 1) for point in points]
        if self.grid and self.races:
            self.race = self._adopt(self.points)

    @property
    def races(self) -> bool:
        """Whether cells are judged, in one round or in several."""
        config = self.config
        single = config.objectives == ("accuracy",) and config.pruner.name == "none"
        return single and config.seeds > 1

    def job(self, claim: Claim, folder: Path) -> Job:
        """A trial's training: its cell with the seeds of its round."""
        cell = self.cells.of(claim.point)
        config = cell.config
        after = claim.round - (1 if self.grid else DRAWN)
        seeds = config.seeds
        own: dict[str, object] = {
            "study": self.study.name,
            "trial": claim.number,
            "round": claim.round,
            "seed": config.seed + seeds * after,
        }
        verdict = dataclasses.replace(config.verdict, baseline_seeds=self._baselines(claim.round))
        overrides = (
            *cell.overrides,
            *(f"{key}={value}" for key, value in own.items()),
            f"verdict.baseline_seeds={verdict.baseline_seeds}",
        )
        return Job(
            config=dataclasses.replace(
                config,
                study=self.study.name,
                trial=claim.number,
                round=claim.round,
                seed=config.seed + seeds * after,
                verdict=verdict,
            ),
            folder=folder,
            overrides=overrides,
        )

    def _baselines(self, round_: int) -> int:
        """Seeds of a baseline by the end of a round."""
        if self.race is not None and round_ > DRAWN:
            return self.race.design.baseline_seeds(round_)
        config = self.config
        if config.verdict.baseline_seeds == "auto" and self.grid and config.seeds > 1:
            return baseline_seeds(config.seeds, len(self.points))
        return config.verdict.seeds_for(config.seeds)

    def wants_draws(self, failed: int) -> bool:
        """Whether a drawn point waits, or the sampler is to draw another.

        Those in ``failed`` may be tried again later.
        """
        if self.grid or self.race is not None:
            return False
        drawn = [t for t in self.study.trials() if unit_of(t).round == DRAWN]
        if any(trial.state == TrialState.WAITING for trial in drawn):
            return True
        busy = sum(_is_busy(trial) for trial in drawn)
        return busy + failed < self.n_trials

    @property
    def has_more(self) -> bool:
        """Whether another round may follow when this one is complete."""
        if self.race is None:
            return not self.grid and self.races and self.config.verdict.top > 0
        return self._number < self._last

    @property
    def _number(self) -> int:
        return self.units[0].round if self.units else DRAWN

    @property
    def _last(self) -> int:
        assert self.race is not None
        return min(self.config.rounds, self.race.design.rounds)

    def advance(self) -> bool:
        """Go on to the next round, if this one is complete; whether there is one."""
        if self.race is None:
            if self.grid or not self.races or self.config.verdict.top == 0:
                return False
            return self._race_the_best()
        raced = [record for record in read_records(self.folder) if record.round > DRAWN]
        cells = cells_of(raced, self.race.keys)
        self.outcome = self.race.judge(cells, self._objective())
        if self.outcome.round < self._number:
            self._refuse_foreign_records()
            return False
        over = self.outcome.round >= self._last or not self.outcome.pending
        if self.outcome.round > self.told:
            self.told = self.outcome.round
            log.info("%s", round_sentence(self.outcome, self.race.labels(), self._last))
        if over:
            return False
        points = self._race_points()
        self.units = [Unit.of(points[i], self.outcome.round + 1) for i in self.outcome.pending]
        return True

    def standing(self) -> Standing:
        """How far the study is, for the display."""
        return standing(
            self.study.name,
            read_records(self.folder),
            self.race,
            cells=len(self.points) or self.n_trials,
            round_=self._number if self.race is not None else DRAWN,
            rounds=0 if self.race is None else self._last,
            most=self.most,
            fixed=self.grid and (self.race is None or self._last == 1),
            metric=self._objective(),
        )

    @cached_property
    def _before_race(self) -> int:
        """Trainings of what a sampler draws, and of a grid whose cells do not race."""
        seeds, own = self.config.seeds, self.config.verdict
        if not self.grid:
            return self.n_trials * seeds + own.seeds_for(seeds)
        baselines = len(set(self._baseline_groups(self.points)))
        return len(self.points) * seeds + baselines * self._baselines(DRAWN)

    @property
    def most(self) -> int:
        """Trainings of students that the study may come to; none of its teachers."""
        if self.race is not None:
            raced = self.race.design.trainings(self._last)
            return raced if self.grid else self._before_race + raced
        if not self.has_more:
            return self._before_race
        config = self.config
        design = RaceDesign.create(
            cells=min(config.verdict.top, self.n_trials), seeds=config.seeds, rounds=config.rounds
        )
        return self._before_race + design.trainings(config.rounds)

    def _baseline_groups(self, points: Sequence[Point]) -> list[str]:
        """The key of each point's first baseline."""
        plans = {plan.key: plan for plan in self.cells.plans}
        keys = []
        for cell in (self.cells.of(point) for point in points):
            plan = plans[group_key(cell.config)]
            first = cell.config.verdict.first_baseline_seed
            keys.append(baseline_key(cell.config, plan.dataset, plan.hardware, first))
        return keys

    def _race_the_best(self) -> bool:
        """Let the best points that the sampler has drawn race, once it has drawn them all."""
        drawn = [t for t in self.study.trials() if unit_of(t).round == DRAWN]
        settled = [trial for trial in drawn if trial.state.is_finished()]
        if len(settled) < len(drawn) or len(settled) < self.n_trials:
            return False
        complete = [trial for trial in settled if trial.state == TrialState.COMPLETE]
        complete.sort(key=lambda trial: -trial.values[0])
        best = list(dict.fromkeys(unit_of(trial).point for trial in complete))
        chosen = [dict(point) for point in best[: self.config.verdict.top]]
        if not chosen:
            return False
        self.race = self._adopt(chosen)
        self.units = [Unit.of(point, 1) for point in chosen]
        log.info("the best %d of %d race, with fresh seeds", len(chosen), len(complete))
        log.info("%s", forecast_sentence(forecast(self.race.design)))
        return True

    def _adopt(self, points: Sequence[Point]) -> Race:
        """The study's race over these points, as it is, or is now made."""
        for point in points:
            self.cells.of(point)  # plans what was not planned yet
        shown = [self._shown(point) for point in points]
        keys = self._baseline_groups(points)
        distinct = list(dict.fromkeys(keys))
        verdict = self.config.verdict
        design = RaceDesign.create(
            cells=len(points),
            seeds=self.config.seeds,
            rounds=self.config.rounds,
            axes=grid_axes(shown) if self.grid else None,
            groups=[distinct.index(key) for key in keys],
            baseline=None if verdict.baseline_seeds == "auto" else verdict.baseline_seeds,
            margin=verdict.margin,
            futility=verdict.futility,
        )
        race = adopt_race(
            self.study.study, Race(design=design, points=tuple(shown)), self.config.rounds
        )
        race.write(self.folder)
        planned = race.design.rounds
        if self.config.rounds < planned:
            log.info(
                "rounds=%d: study %s was planned with %d; no round after that is begun, what is "
                "there stays, and its levels are those of %d",
                self.config.rounds,
                self.study.name,
                planned,
                planned,
            )
        return race

    def _race_points(self) -> list[Point]:
        """The cells of the race in its order, as points of the space."""
        assert self.race is not None
        known = self.points or [dict(unit_of(trial).point) for trial in self.study.trials()]
        by_text = {tuple(self._shown(point).items()): point for point in known}
        return [by_text[tuple(point.items())] for point in self.race.points]

    def _shown(self, point: Point) -> dict[str, str]:
        """A point as the command line has it: its axes alone."""
        return {key.lstrip("+"): str(point[key]) for key in self.study.distributions}

    def _objective(self) -> str:
        split = self.cells.plans[0].dataset.evaluation
        return f"{split.prefix}_{self.config.objectives[0]}"

    def _refuse_foreign_records(self) -> None:
        """A round whose trials have ended, without records here, can't be judged here.

        Raises:
            UserError: the records are under another root.
        """
        here = {record.trial for record in read_records(self.folder)}
        latest = {unit_of(t): t.number for t in self.study.trials(TrialState.COMPLETE)}
        ended = [unit for unit in self.units if unit in latest and latest[unit] not in here]
        if ended:
            raise UserError(
                f"study={self.study.name}: the records of {len(ended)} of its trials are not in "
                f"{self.folder}; all of its processes need one root=, in a folder that they "
                "share. Put the records back, or choose another study=NAME"
            )

    def announce(self) -> None:
        """Say what is to be trained."""
        space = ", ".join(self.study.distributions) or "nothing"
        name = self.study.name
        if self.grid:
            missing = len(self.study.missing(self.units))
            total = len(self.units)
        else:
            drawn = [t for t in self.study.trials() if unit_of(t).round == DRAWN]
            total = self.n_trials
            missing = max(0, total - sum(map(_is_busy, drawn)))
            missing += sum(trial.state == TrialState.WAITING for trial in drawn)
        running = len(self.study.trials(TrialState.RUNNING))
        if not missing and not running:
            log.info("study %s: all %d trials are finished", name, total)
            return
        elsewhere = f", {running} in other processes" if running else ""
        log.info("study %s: %s, %d of %d trials to go%s", name, space, missing, total, elsewhere)
        warn_of_idle_average(self.cells.plans)
        if self.race is not None and missing == total:
            log.info("%s", forecast_sentence(forecast(self.race.design)))
        if self.race is None and self.has_more:
            log.info(
                "%d trials x %d seeds find cells by their scores; then the best %d race with "
                "fresh seeds, for a verdict",
                total,
                self.config.seeds,
                min(self.config.verdict.top, total),
            )


def _is_busy(trial: FrozenTrial) -> bool:
    """Whether a trial needs no other in its place: it runs, waits, or is settled."""
    return trial.state != TrialState.FAIL or bool(trial.user_attrs.get("kdsweep:final"))
