"""A job as Hydra knows it: folder, ``.hydra/``, log, callbacks, and what is returned of it.

Hydra's ``run_job`` runs one job from its start to its end. Jobs that train together start
together, so what it does before the task and after it is here in two steps.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log
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


_LOGGED: ContextVar[object] = ContextVar("logged")  # the jobs whose logs get what is logged


@contextmanager
def logged(jobs: Sequence[HydraJob], *, afterwards: tuple[Any, Any]) -> Iterator[None]:
    """Log to every job's folder: what trains together has one history.

    Jobs of several batches may be logged side by side, each what is logged in its own context.

    Args:
        jobs: of one batch.
        afterwards: Hydra's logging and verbosity outside of jobs.
    """
    first = jobs[0]
    hydra, whitelist = first.config.hydra, first.context.execution_whitelist
    root = logging.getLogger()
    batch = object()
    with first.current(), _of_others_kept(root):
        configure_log(hydra.job_logging, hydra.verbose, whitelist)
        files = [
            one
            for one in root.handlers
            if isinstance(one, logging.FileHandler) and not _is_of_a_batch(one)
        ]
        copies = [
            _Copies(one, [job.job.folder / Path(one.baseFilename).name for job in jobs[1:]])
            for one in files
            if Path(one.baseFilename).parent == first.job.folder.absolute()
        ]
        own: list[logging.Handler] = [*files, *copies]
        for handler in own:
            handler.addFilter(_OfBatch(batch))
            root.addHandler(handler)
    token = _LOGGED.set(batch)
    try:
        yield
    finally:
        _LOGGED.reset(token)
        for handler in own:
            root.removeHandler(handler)
            handler.close()
        with _of_others_kept(root):
            configure_log(*afterwards, execution_whitelist=whitelist)


class _OfBatch(logging.Filter):
    """Lets through what is logged while one batch of jobs is at work."""

    def __init__(self, batch: object) -> None:
        super().__init__()
        self.batch = batch

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is of this batch."""
        return _LOGGED.get(None) is self.batch


@contextmanager
def _of_others_kept(root: logging.Logger) -> Iterator[None]:
    """Keep the handlers of other batches while logging is configured anew."""
    others = [one for one in root.handlers if _is_of_a_batch(one)]
    yield
    for handler in others:
        root.addHandler(handler)


def _is_of_a_batch(handler: logging.Handler) -> bool:
    return any(isinstance(one, _OfBatch) for one in handler.filters)


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
