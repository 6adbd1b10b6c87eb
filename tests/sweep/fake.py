"""A sweep in this process whose trainings are a function: no files but the study's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode

from kdsweep.config.paths import conf_dir
from kdsweep.sweep import loop
from kdsweep.sweep.loop import SweepLoop
from kdsweep.sweep.plugins import register

Train = Callable[[dict[str, str]], float | list[float]]


class FakeLauncher:
    """Calls a function for each job; what it raises is the job's failure."""

    def __init__(self, train: Train) -> None:
        self.train = train
        self.points: list[dict[str, str]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        returns = []
        for job in jobs:
            point = dict(item.split("=", 1) for item in job)
            self.points.append(point)
            value: Any
            try:
                value, status = self.train(point), JobStatus.COMPLETED
            except Exception as error:
                value, status = error, JobStatus.FAILED
            returns.append(JobReturn(status=status, _return_value=value))
        return returns


class Study:
    """A folder in which the same command can be given again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = f"sqlite:///{folder}/optuna.db"

    def sweep(self, train: Train, *arguments: str) -> FakeLauncher:
        launcher = FakeLauncher(train)
        own = (f"root={self.folder}", "experiment=smoke", "tracking=none", *arguments)
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", list(own), run_mode=RunMode.MULTIRUN)
        options = {k: config.hydra.sweeper[k] for k in config.hydra.sweeper if k != "_target_"}
        sweeper: Any = SimpleNamespace(
            launcher=launcher,
            hydra_context=SimpleNamespace(config_loader=loader),
            config=config,
            options=options,
        )
        SweepLoop(sweeper, list(config.hydra.overrides.task)).run()
        return launcher

    def load(self, name: str | None = None) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=self.storage)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.load().get_trials()


@contextmanager
def studying(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Study]:
    """Studies whose jobs are composed but not planned: nothing reads data."""
    register()
    patch.setattr(loop, "check", lambda configs: [])
    with initialize_config_dir(str(conf_dir())):
        yield Study(folder)
