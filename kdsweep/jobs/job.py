"""Jobs and what becomes of them: no training here, and no heavy imports."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.config import Config
from kdsweep.errors import KdsweepError
from kdsweep.results.record import Record

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell: a configuration, where its output goes, what was set on the command line."""

    config: Config
    folder: Path
    overrides: tuple[str, ...] = ()

    @property
    def seeds(self) -> range:
        """The seeds that this job trains."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    @property
    def baseline_seeds(self) -> range:
        """The seeds of the baseline that it is compared with; none of them is a student's."""
        verdict = self.config.verdict
        if self.is_baseline and self.config.trial is None:
            return range(0)  # there is nothing to compare it with
        first = verdict.first_baseline_seed
        return range(first, first + verdict.seeds_for(self.config.seeds))

    @property
    def is_baseline(self) -> bool:
        """Whether its students learn from labels alone."""
        return not self.config.distill.losses

    def member(self, seed: int) -> str:
        """The name of one of its members in a population."""
        return f"{self.folder}#{seed}"


@dataclass(kw_only=True)
class Outcome:
    """What became of a job: its record, the error that ended it, or both."""

    record: Record | None = None
    error: KdsweepError | None = None

    @property
    def value(self) -> float | list[float]:
        """The objective, or several; raises the job's error where it failed."""
        if self.error is not None:
            raise self.error
        assert self.record is not None
        values = list(self.record.values)
        return values if len(values) != 1 else values[0]


def make_job(config: DictConfig, hydra: Any) -> Job:
    """The typed job of a composed configuration; in a sweep it has a study and a trial."""
    from hydra.types import RunMode

    from kdsweep.config.typed import typed

    made = typed(config)
    if hydra.mode == RunMode.MULTIRUN and made.trial is None:  # not kdsweep's own sweeper
        study = made.study or Path(hydra.sweep.dir).name
        made = dataclasses.replace(made, study=study, trial=hydra.job.num)
    return Job(
        config=made,
        folder=Path(hydra.runtime.output_dir),
        overrides=tuple(hydra.overrides.task),
    )
