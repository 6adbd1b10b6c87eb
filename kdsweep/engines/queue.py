"""Slurm's queue: jobs are submitted to it by submitit, looked for, and cancelled."""

from __future__ import annotations

import contextlib
import getpass
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from kdsweep.config import EngineConfig
from kdsweep.engines.folder import PartFolder
from kdsweep.errors import UserError, first_line
from kdsweep.store import writable

log = logging.getLogger(__name__)

QUEUE_SECONDS = 5.0  # between two looks, whoever asks
TIMEOUT_SECONDS = 60.0  # for an answer of Slurm
OFTEN = 1_000_000  # times that a job may be queued again at the end of its time


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A user's jobs at one moment.

    Attributes:
        number: of the look, counted up.
        jobs: such as 12_0 of an array; None where Slurm has not answered.
    """

    number: int
    jobs: frozenset[str] | None

    def has(self, job: str | None) -> bool:
        """Whether a job waits or runs, as far as is known."""
        return job is not None and (self.jobs is None or job in self.jobs)


class Queue(Protocol):
    """Where jobs wait and run."""

    @property
    def number(self) -> int:
        """Of the latest look."""
        ...

    def look(self, *, fresh: bool = False) -> Listing:
        """The jobs as of a moment ago, or with ``fresh`` of now."""
        ...

    def submit(self, folders: Sequence[Path]) -> list[str]:
        """Queue a job for each part; their names."""
        ...

    def cancel(self, job: str) -> None:
        """End a job, if it still waits or runs."""
        ...


class TrainPart:
    """What submitit calls in a job; where the job is queued again, it goes on from the folder."""

    def __call__(self, folder: str) -> None:
        """Train the part of this folder."""
        logging.basicConfig(level=logging.INFO)  # into the job's log
        PartFolder(Path(folder)).run()

    def checkpoint(self, folder: str) -> submitit.helpers.DelayedSubmission:
        """What the job does when it runs again."""
        return submitit.helpers.DelayedSubmission(self, folder)


def _run(command: Sequence[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS
    ).stdout


class Slurm:
    """The queue itself, asked not too often and from any thread.

    Args:
        config: what each job asks for.
        folder: of scripts and logs, on a disk that the nodes share.
        run: runs a command, and returns its output.
        seconds: between two looks.

    Raises:
        UserError: this is no machine that can submit jobs.
    """

    def __init__(
        self,
        config: EngineConfig,
        folder: Path,
        run: Callable[[Sequence[str]], str] = _run,
        seconds: float = QUEUE_SECONDS,
    ) -> None:
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._executor = _executor(config, folder)
        self._run = run
        self._seconds = seconds
        self._lock = threading.Lock()
        self._last = Listing(number=0, jobs=None)
        self._looked = -seconds

    @property
    def number(self) -> int:
        """Of the latest look."""
        return self._last.number

    def look(self, *, fresh: bool = False) -> Listing:
        """The jobs as of a moment ago, or with ``fresh`` of now."""
        with self._lock:
            if fresh or time.monotonic() - self._looked >= self._seconds:
                self._last = Listing(number=self._last.number + 1, jobs=self._jobs())
                self._looked = time.monotonic()
            return self._last

    def _jobs(self) -> frozenset[str] | None:
        command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}"]
        try:
            return frozenset(self._run([*command, "--format=%i"]).split())
        except (OSError, subprocess.SubprocessError) as error:
            log.debug("squeue: %s", error)
            return None

    def submit(self, folders: Sequence[Path]) -> list[str]:
        """Queue the parts as the tasks of one array.

        Raises:
            UserError: sbatch takes no such job.
        """
        with self._lock, _in_one_line():
            jobs = self._executor.map_array(TrainPart(), [str(folder) for folder in folders])
        return [str(job.job_id) for job in jobs]

    def cancel(self, job: str) -> None:
        """End a job, if it still waits or runs."""
        try:
            self._run(["scancel", job])
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("scancel %s: %s; the job may go on", job, error)


def _executor(config: EngineConfig, folder: Path) -> submitit.SlurmExecutor:
    try:
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=OFTEN)
    except RuntimeError as error:
        raise UserError(
            "engine=slurm: there is no srun here; start the command on a machine that can submit "
            "jobs, or leave engine out to train on this one"
        ) from error
    wanted = {
        "partition": config.partition,
        "gres": config.gres or ("gpu:1" if config.gpus else None),
        "mem": None if config.memory is None else f"{int(config.memory * 1024)}MB",
    }
    executor.update_parameters(
        job_name="kdsweep",
        time=config.time,
        cpus_per_task=config.cpus,
        signal_delay_s=config.signal_delay,
        setup=list(config.setup),
        stderr_to_stdout=True,
        additional_parameters={"requeue": True, **(config.sbatch or {})},
        **{key: value for key, value in wanted.items() if value is not None},
    )
    return executor


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    """What sbatch has to say, as the user's one line."""
    try:
        yield
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise UserError(f"engine=slurm: sbatch takes no such job: {first_line(error)}") from error
