"""A job as Hydra knows it: folder, ``.hydra/``, log, callbacks, and what is returned of it.

Hydra's ``run_job`` runs one job from its start to its end. Jobs that train together start
together, so what it does before the task and after it is here in two steps.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from kdsweep.config.secrets import hidden
from kdsweep.store import writable
from kdsweep.sweeper.compose import without_hydra

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

    from kdsweep.jobs.job import Job, Outcome

MULTIRUN = "multirun.yaml"  # in a sweep's folder, by Hydra's own sweeper


class HydraJob:
    """One job between its opening and its closing.

    Args:
        job: what is trained.
        config: composed, with Hydra's part.
        context: Hydra's, with its callbacks.
    """

    def __init__(self, job: Job, config: DictConfig, context: HydraContext) -> None:
        self.job = job
        self.config = config
        self.context = context
        with open_dict(config):
            config.hydra.runtime.output_dir = str(job.folder.absolute())

    def open(self, task: TaskFunction) -> None:
        """Make the folder and what Hydra writes into it, and call the callbacks."""
        with self.current():
            folder = self.job.folder
            with writable(folder):
                folder.mkdir(parents=True, exist_ok=True)
                if self.config.hydra.output_subdir is not None:
                    self._write(folder / self.config.hydra.output_subdir)
            self.context.callbacks.on_job_start(config=self.config, task_function=task)

    def _write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name, part in {
            "config": without_hydra(self.config),
            "hydra": OmegaConf.masked_copy(self.config, "hydra"),
            "overrides": self.config.hydra.overrides.task,
        }.items():
            save_hidden(part, folder / f"{name}.yaml")

    def close(self, outcome: Outcome | BaseException) -> JobReturn:
        """Call the callbacks with what became of the job, and return it."""
        error = outcome if isinstance(outcome, BaseException) else outcome.error
        made = JobReturn(
            overrides=list(self.job.overrides),
            cfg=without_hydra(self.config),
            hydra_cfg=OmegaConf.masked_copy(self.config, "hydra"),
            working_dir=str(Path.cwd()),
            task_name=JobRuntime.instance().get("name"),
            status=JobStatus.COMPLETED if error is None else JobStatus.FAILED,
        )
        made.return_value = error
        if not isinstance(outcome, BaseException) and error is None:
            made.return_value = outcome.value
        with self.current():
            self.context.callbacks.on_job_end(config=self.config, job_return=made)
        return made

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let Hydra's resolvers see this job."""
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(self.config)
        try:
            yield
        finally:
            HydraConfig.instance().cfg = before


def save_hidden(config: DictConfig | ListConfig, path: Path) -> None:
    """Write a configuration as Hydra does, without the passwords of addresses."""
    plain = hidden(OmegaConf.to_container(config))
    OmegaConf.save(OmegaConf.create(plain), path)


def hide_in_files(folder: Path, names: str = "*.yaml") -> None:
    """Take the passwords of addresses out of what Hydra itself has written into a folder."""
    for path in folder.glob(names):
        save_hidden(OmegaConf.load(path), path)


@contextmanager
def logged(jobs: Sequence[HydraJob]) -> Iterator[None]:
    """Log to every job's folder: what trains together has one history."""
    first = jobs[0]
    hydra = first.config.hydra
    with first.current(), env_override(dict(hydra.job.env_set)):
        configure_log(hydra.job_logging, hydra.verbose, first.context.execution_whitelist)
        root = logging.getLogger()
        copies = [
            _Copies(
                handler, [job.job.folder / Path(handler.baseFilename).name for job in jobs[1:]]
            )
            for handler in root.handlers
            if isinstance(handler, logging.FileHandler)
            and Path(handler.baseFilename).parent == first.job.folder.absolute()
        ]
        for copy in copies:
            root.addHandler(copy)
        try:
            yield
        finally:
            for copy in copies:
                root.removeHandler(copy)


class _Copies(logging.Handler):
    """Writes to many files what one handler writes to its own; none of them stays open."""

    def __init__(self, original: logging.FileHandler, paths: Sequence[Path]) -> None:
        super().__init__(original.level)
        self.setFormatter(original.formatter)
        self.paths = paths

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line to each file."""
        line = self.format(record)
        for path in self.paths:
            try:
                with path.open("a") as file:
                    file.write(f"{line}\n")
            except OSError:
                self.handleError(record)
