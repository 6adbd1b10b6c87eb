"""A sweep in this process whose trainings are a function: all is real but the students."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode

from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import typed
from kdsweep.results.record import write_record
from kdsweep.sweeper.compose import Composer
from kdsweep.sweeper.loop import SweepLoop
from kdsweep.sweeper.plugins import register
from tests.results.made import record

Score = float | Sequence[float] | Mapping[int, float]
Train = Callable[[dict[str, str]], Score]


def baseline(seed: int) -> float:
    """What the student alone has with a seed: 50, and a little noise that looks like some."""
    return 50.0 + ((seed * 7919) % 11 - 5) / 10


class FakeLauncher:
    """Calls a function for each job, and writes the record; what it raises is its failure.

    The function gives the objectives, or the accuracy of each seed.
    """

    def __init__(self, train: Train, composer: Composer) -> None:
        self.train = train
        self.composer = composer
        self.points: list[dict[str, str]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        returns = []
        for job in jobs:
            point = dict(item.split("=", 1) for item in job)
            self.points.append(point)
            try:
                self._write(point, job, self.train(point))
                returns.append(JobReturn(status=JobStatus.COMPLETED, _return_value=0.0))
            except Exception as error:
                returns.append(JobReturn(status=JobStatus.FAILED, _return_value=error))
        return returns

    def _write(self, point: dict[str, str], job: Sequence[str], score: Score) -> None:
        config = typed(self.composer.compose(list(job)))
        seeds = range(config.seed, config.seed + config.seeds)
        several = isinstance(score, Sequence)
        by_seed = (
            score
            if isinstance(score, Mapping)
            else dict.fromkeys(seeds, 0.0 if several else score)
        )
        first = config.verdict.first_baseline_seed
        made = record(
            int(point["trial"]),
            by_seed,
            [baseline(first + i) for i in range(config.verdict.seeds_for(config.seeds))],
            round_=config.round,
            study=config.study,
            overrides=tuple(job),
            config=dataclasses.asdict(config),
        )
        if several:
            names = tuple(f"val_{name}" for name in config.objectives)
            made = dataclasses.replace(made, objectives=names, values=tuple(score))
        folder = Path(config.root) / "hydra/studies" / str(config.study) / point["trial"]
        write_record(folder, made)


class Study:
    """A folder in which the same command can be given again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = f"sqlite:///{folder}/optuna.db"

    def sweep(self, train: Train, *arguments: str) -> FakeLauncher:
        own = (f"root={self.folder}", "experiment=smoke", "tracking=none", *arguments)
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", list(own), run_mode=RunMode.MULTIRUN)
        options = {k: config.hydra.sweeper[k] for k in config.hydra.sweeper if k != "_target_"}
        context: Any = SimpleNamespace(config_loader=loader)
        launcher = FakeLauncher(train, Composer(context, config))
        sweeper: Any = SimpleNamespace(
            launcher=launcher, hydra_context=context, config=config, options=options
        )
        SweepLoop(sweeper, list(config.hydra.overrides.task)).run()
        return launcher

    def load(self, name: str | None = None) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=self.storage)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.load().get_trials()


@contextmanager
def studying(folder: Path) -> Iterator[Study]:
    """Studies whose jobs are composed, checked and reported as any others."""
    register()
    with initialize_config_dir(str(conf_dir())):
        yield Study(folder)
