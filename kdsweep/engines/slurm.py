"""The engine of Slurm: the parts of a population are the tasks of an array.

Each part has a folder under ``root/slurm``, on a disk that the nodes share, named after what it
trains. A command that is ended and given again finds its jobs there, whether they wait, run or
have ended, and submits only what is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path

import filelock

from kdsweep.config import Config
from kdsweep.engines.engine import Part, Results, SlotEngine, Task, cut
from kdsweep.engines.folder import JobTask, PartFolder
from kdsweep.engines.networks import PopulationSpec
from kdsweep.engines.queue import Queue, Slurm
from kdsweep.engines.slots import for_slot
from kdsweep.errors import Stopped, WorkerLost
from kdsweep.store import digest, writable
from kdsweep.train.interfaces import Observer
from kdsweep.train.population import Member

log = logging.getLogger(__name__)

FILE_SECONDS = 1.0  # between looks at what a job has reported


class SlurmEngine(SlotEngine):
    """Trains in Slurm's jobs.

    Args:
        config: of any job: all have one root and one engine.
        queue: of the cluster.

    Raises:
        UserError: this is no machine that can submit jobs.
    """

    def __init__(self, config: Config, queue: Queue | None = None) -> None:
        super().__init__()
        self.config = config.engine
        self.root = Path(config.root).resolve() / "slurm"
        self.queue = queue or Slurm(config.engine, self.root / "jobs")
        self._names: dict[Path, dict[str, str]] = {}  # of members, by what they are called there
        self._following: set[Path] = set()  # folders of jobs that have not ended
        self._ended: set[Path] = set()
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def width(self) -> int:
        """The tasks of an array at most; how many run is Slurm's affair."""
        return self.config.jobs

    @property
    def has_room(self) -> bool:
        """Whether fewer parts than that are open."""
        return self._open < self.width

    def slots_for(self, spec: PopulationSpec) -> int:
        """The tasks of an array at most."""
        return self.width

    def submit(self, task: Task, observer: Observer) -> Future[Results]:
        """Train a population in new jobs, and in those that an earlier command has left."""
        with self._alone():
            (self.root / task.setting).mkdir(exist_ok=True)
            return super().submit(task, observer)

    def _alone(self) -> filelock.BaseFileLock:
        """Held while jobs are looked for and submitted, and while their folders go."""
        with writable(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self.root / ".lock")

    def divide(self, task: Task) -> list[list[Member]]:
        """What jobs train, or have trained, as it is; the rest in new parts."""
        setting = self.root / task.setting
        missing, found = dict(zip(identities(task.members), task.members, strict=True)), []
        listing = self.queue.look(fresh=True)
        for path in sorted(setting.iterdir()):
            folder = PartFolder(path)
            names = folder.members()
            if not names or not missing.keys() >= set(names):
                continue
            kept = folder.outcome
            if listing.has(folder.job) if kept is None else kept[0] == "done":
                found.append([missing.pop(name) for name in names])
            else:
                shutil.rmtree(path)
        if found:
            log.info("slurm: %d jobs of an earlier command found", len(found))
        return [*found, *cut(list(missing.values()), self.width)] if missing else found

    def begin(self, parts: Sequence[Part]) -> None:
        """Submit the parts that no job trains, as one array."""
        new = []
        for part in parts:
            setting = self.root / part.whole.task.setting
            names = identities(part.members)
            part.folder = setting / digest(sorted(names))
            self._names[part.folder] = dict(
                zip(names, (m.name for m in part.members), strict=True)
            )
            folder = PartFolder(part.folder)
            if folder.members() is None:
                folder.create(
                    JobTask(
                        spec=for_slot(part.spec),
                        members=[
                            dataclasses.replace(member, name=name)
                            for name, member in zip(names, part.members, strict=True)
                        ],
                        waits=_waits(part),
                        directory=str(Path.cwd()),
                    )
                )
                new.append(folder)
            self._following.add(part.folder)
        if new:
            self._start(new)
        if self._heart is None and any(map(_waits, parts)):
            self._heart = threading.Thread(target=self._beat, daemon=True)
            self._heart.start()

    def _beat(self) -> None:
        """Give jobs a sign of life, whatever the observer is busy with."""
        for beat in itertools.count():
            for path in list(self._following):
                with contextlib.suppress(FileNotFoundError):  # it has just ended
                    PartFolder(path).beat(beat)
            if self._stop.wait(FILE_SECONDS):
                return

    def train_part(self, part: Part) -> Results:
        """Follow the job of a part to its end, and submit it again where it is lost.

        Raises:
            WorkerLost: it was lost again and again.
            KdsweepError: what the training raised; anything else that it raises is unexpected.
        """
        assert part.folder is not None
        folder = PartFolder(part.folder)
        try:
            self._follow(part, folder)
        except BaseException:
            if not self._stop.is_set():  # else ``close`` knows what becomes of it
                self._cancel([part.folder])
            raise
        self._following.discard(part.folder)
        outcome = folder.outcome
        assert outcome is not None
        kind, content = outcome
        if kind == "error":
            shutil.rmtree(part.folder)
            failed: BaseException = content
            raise failed
        self._ended.add(part.folder)
        names = self._names[part.folder]
        results: Results = content
        return {
            names[own]: dataclasses.replace(trained, name=names[own])
            for own, trained in results.items()
        }

    def _follow(self, part: Part, folder: PartFolder) -> None:
        """Hand on what the job reports until the outcome is there."""
        names = self._names[folder.path]
        own = {name: key for key, name in names.items()}
        answers, reports = folder.answers(), folder.reports()
        seen, missed = self.queue.number, 0
        while True:
            ended = folder.ended  # before the last lines are read
            for kind, content in next(reports):
                if kind == "step":
                    part.step(*content)
                    continue
                epoch, records = content
                leaving = part.epoch(epoch, {names[k]: v for k, v in records.items()})
                if epoch not in answers:
                    answers[epoch] = {own[name]: why for name, why in leaving.items()}
                    folder.answer(epoch, answers[epoch])
            if ended:
                return
            if self._stop.is_set() or part.whole.ended.is_set():
                raise CancelledError
            listing = self.queue.look()
            if listing.number > seen:
                seen = listing.number
                missed = 0 if listing.has(folder.job) else missed + 1
            if missed > 1 and not folder.ended:  # files may come later than the queue has it
                self._again(part, folder)
                seen, missed = self.queue.number, 0
            self._stop.wait(FILE_SECONDS)

    def _again(self, part: Part, folder: PartFolder) -> None:
        part.lost += 1
        logs = self.root / "jobs"
        if part.lost > self.config.retries:
            raise WorkerLost(
                f"Slurm's job {folder.job} has ended without a result, {part.lost} times (its log "
                f"is in {logs}, a folder that all nodes have to see); give the same command "
                "again: what is finished is kept"
            )
        log.warning(
            "Slurm's job %s has ended without a result (its log is in %s); submitted again",
            folder.job,
            logs,
        )
        self._start([folder])

    def _start(self, folders: Sequence[PartFolder]) -> None:
        jobs = self.queue.submit([folder.path for folder in folders])
        for folder, job in zip(folders, jobs, strict=True):
            folder.job = job

    def close(self, error: BaseException | None = None) -> None:
        """Cancel what is left, or leave it to the next command where a signal ends this one."""
        self._stop.set()
        left = [path for path in self._following if not PartFolder(path).ended]
        if isinstance(error, Stopped) and left:
            jobs = sorted(job for path in left if (job := PartFolder(path).job) is not None)
            log.warning(
                "Slurm's jobs go on (%s): the same command finds them; scancel ends them",
                ", ".join(jobs),
            )
        else:
            self._cancel(left)
        super().close()
        if error is None:
            self._remove(self._ended)

    def _remove(self, paths: Iterable[Path]) -> None:
        with self._alone():
            for path in paths:
                shutil.rmtree(path, ignore_errors=True)
                with contextlib.suppress(OSError):  # others are there
                    path.parent.rmdir()

    def _cancel(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if (job := PartFolder(path).job) is not None:
                self.queue.cancel(job)
            self._following.discard(path)
        self._remove(paths)


def _waits(part: Part) -> bool:
    """Whether its job waits for an answer after each epoch, since members may leave."""
    return part.spec.config.pruner.name != "none"


def identities(members: Sequence[Member]) -> list[str]:
    """What each member is, whatever a command calls it: its seed and its numbers."""
    made: Counter[str] = Counter()
    names = []
    for member in members:
        name = digest(member.seed, dict(member.hyper))
        names.append(f"{name}-{made[name]}")  # equal ones are trained as often as they are asked
        made[name] += 1
    return names
