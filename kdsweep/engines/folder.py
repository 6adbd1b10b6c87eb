"""The files of a part that trains in a job, by which the job and the head of the sweep speak.

Both may end and be started again. What a job reports is appended to one file, what the head
answers to another; the outcome appears all at once.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsweep.engines.networks import PopulationSpec
from kdsweep.engines.worker import Reporter, train_outcome
from kdsweep.store import write_bytes
from kdsweep.train.population import Member

TASK, MEMBERS, JOB, OUTCOME = "task.pkl", "members.json", "job.json", "outcome.pkl"
REPORTS, ANSWERS, HEAD = "reports.jsonl", "answers.jsonl", "head"

ANSWER_SECONDS = 0.2  # between looks for the head's answer
SILENT_SECONDS = 30.0  # after which a head that says nothing has gone


@dataclass(frozen=True, kw_only=True)
class JobTask:
    """What a job is to train.

    Attributes:
        members: named by what they are, so that another head finds them.
        waits: for the head's answer after each epoch, since members may leave.
        directory: that relative paths begin in.
    """

    spec: PopulationSpec
    members: Sequence[Member]
    waits: bool
    directory: str


class PartFolder:
    """The folder of one part."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, task: JobTask) -> None:
        """Begin anew."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        write_bytes(self.path / TASK, pickle.dumps(task))
        names = [member.name for member in task.members]
        write_bytes(self.path / MEMBERS, json.dumps(names).encode())

    def task(self) -> JobTask:
        """What is to be trained."""
        task: JobTask = pickle.loads((self.path / TASK).read_bytes())
        return task

    def members(self) -> list[str] | None:
        """Whom it trains; None where the folder is not whole."""
        try:
            names: list[str] = json.loads((self.path / MEMBERS).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return names

    @property
    def job(self) -> str | None:
        """The scheduler's name of the job that trains it, or has trained it."""
        try:
            return str(json.loads((self.path / JOB).read_text()))
        except FileNotFoundError:
            return None

    @job.setter
    def job(self, name: str) -> None:
        write_bytes(self.path / JOB, json.dumps(name).encode())

    def report(self, kind: str, content: object) -> None:
        """A job's next line."""
        _append(self.path / REPORTS, [kind, content])

    def reports(self) -> Iterator[list[tuple[str, Any]]]:
        """Each time it is asked, what has been reported since."""
        return ([(kind, content) for kind, content in new] for new in _tail(self.path / REPORTS))

    def answer(self, epoch: int, leaving: Mapping[str, str]) -> None:
        """The head's next line."""
        _append(self.path / ANSWERS, [epoch, dict(leaving)])

    def answers(self) -> dict[int, dict[str, str]]:
        """Who leaves after which epoch, and why, as far as the head has answered."""
        return dict(next(_tail(self.path / ANSWERS)))

    def beat(self, count: int) -> None:
        """A sign of life of the head."""
        write_bytes(self.path / HEAD, str(count).encode())

    def heartbeat(self) -> str:
        """The last sign of life."""
        try:
            return (self.path / HEAD).read_text()
        except FileNotFoundError:
            return ""

    @property
    def outcome(self) -> tuple[str, Any] | None:
        """How the training has ended, if it has."""
        try:
            outcome: tuple[str, Any] = pickle.loads((self.path / OUTCOME).read_bytes())
        except FileNotFoundError:
            return None
        return outcome

    @property
    def ended(self) -> bool:
        """Whether the outcome is there."""
        return (self.path / OUTCOME).is_file()

    def run(self) -> None:
        """Train the part, unless that is done; what a job does."""
        if self.ended:
            return
        task = self.task()
        os.chdir(task.directory)
        observer = _Filed(self, waits=task.waits)
        outcome = train_outcome(task.spec, task.members, observer)
        write_bytes(self.path / OUTCOME, pickle.dumps(outcome))


class _Filed(Reporter):
    """Reports to files; it goes on without a head that is gone."""

    def __init__(
        self, folder: PartFolder, *, waits: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.folder = folder
        self.waits = waits
        self.clock = clock
        self.heard, self.heard_at = "", clock()
        self.gone = False

    def report(self, kind: str, content: object) -> None:
        self.folder.report(kind, content)

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        self.report("epoch", (epoch, records))
        while self.waits:
            answers = self.folder.answers()
            if epoch in answers:
                return answers[epoch]
            if not self._head_lives():
                return {}
            time.sleep(ANSWER_SECONDS)
        return {}

    def _head_lives(self) -> bool:
        """Whether it gave a sign of life lately; one that has gone is back when it gives one."""
        beat, now = self.folder.heartbeat(), self.clock()
        if beat != self.heard:
            self.heard, self.heard_at, self.gone = beat, now, False
        self.gone = self.gone or now - self.heard_at > SILENT_SECONDS
        return not self.gone


def _append(path: Path, line: object) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _tail(path: Path) -> Iterator[list[Any]]:
    """The whole lines that were added since the last time; those of a torn write are left out."""
    position = 0
    while True:
        added = b""
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        position += len(whole)
        yield [line for one in whole.splitlines() if (line := _line(one)) is not None]


def _line(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
