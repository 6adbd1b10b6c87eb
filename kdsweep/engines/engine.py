"""What every engine does: it cuts a population into parts, and each part trains in a slot."""

from __future__ import annotations

import abc
import contextvars
import itertools
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from kdsweep.engines.networks import PopulationSpec
from kdsweep.train.interfaces import Observer, Trained
from kdsweep.train.population import Member

Results = dict[str, Trained]
MOST_SLOTS = 1024  # threads that may wait for as many parts; one is started when it is needed


@dataclass(frozen=True, kw_only=True)
class Task:
    """A population to train: different members, by name, and what they have in common."""

    spec: PopulationSpec
    members: tuple[Member, ...]
    setting: str = ""  # a digest of all that decides how members come out, but what they are


class Engine(abc.ABC):
    """Trains populations, several at a time where it has several slots."""

    grows: bool = False  # whether slots come and go, so that it pays to look now and then

    @property
    @abc.abstractmethod
    def has_room(self) -> bool:
        """Whether a slot is idle, so that another population would start at once."""

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """How many parts can train at the same time; at least 1."""

    @abc.abstractmethod
    def submit(self, task: Task, observer: Observer) -> Future[Results]:
        """Train a population; what became of each member, by name.

        Args:
            task: what to train.
            observer: hears of steps and epochs, from any thread but from one at a time.

        The future raises what the training raised, which ends the population's other parts.
        """

    @abc.abstractmethod
    def close(self, error: BaseException | None = None) -> None:
        """End whatever still runs; what was promised of it is not kept.

        Args:
            error: why the command ends early, if it does. Where it was ``Stopped``, an engine
                may leave running what the same command finds again.
        """


class SlotEngine(Engine):
    """An engine whose parts wait in one queue for slots. A subclass trains one part."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MOST_SLOTS, thread_name_prefix="kdsweep-slot")
        self._lock = threading.Lock()
        self._open = 0  # parts that train or wait

    @abc.abstractmethod
    def slots_for(self, spec: PopulationSpec) -> int:
        """How many parts of such a population can train at the same time; at least 1."""

    @abc.abstractmethod
    def train_part(self, part: Part) -> Results:
        """Train one part, and return when it has ended; called in a thread of its own."""

    def submit(self, task: Task, observer: Observer) -> Future[Results]:
        """Train a population in as many parts as there are slots for it."""
        whole = Whole(task, observer)
        parts = [
            Part(spec=task.spec, members=members, number=number, whole=whole)
            for number, members in enumerate(self.divide(task))
        ]
        whole.progress = {part.number: (0, 1) for part in parts}
        self.begin(parts)
        with self._lock:
            self._open += len(parts)
        futures = []
        for part in parts:
            context = contextvars.copy_context()  # what is logged belongs to who submitted it
            futures.append(self._pool.submit(context.run, self._train, part))
        return _joined(futures, whole)

    def divide(self, task: Task) -> list[list[Member]]:
        """The members of each part: as many parts as there are slots."""
        return cut(task.members, self.slots_for(task.spec))

    def begin(self, parts: Sequence[Part]) -> None:
        """Prepare what the parts of a population need together, before each is waited for."""

    def _train(self, part: Part) -> Results:
        try:
            if part.whole.ended.is_set():
                raise CancelledError
            return self.train_part(part)
        finally:
            with self._lock:
                self._open -= 1

    def close(self, error: BaseException | None = None) -> None:
        """End the threads; a subclass ends first what they wait for."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Whole:
    """What the parts of a population share: its observer, and whether it has failed."""

    def __init__(self, task: Task, observer: Observer) -> None:
        self.task = task
        self.observer = observer
        self.progress: dict[int, tuple[int, int]] = {}  # steps done, and all, of each part
        self.lock = threading.Lock()
        self.ended = threading.Event()


@dataclass(kw_only=True)
class Part:
    """The members of a population that one slot trains; the observer of their training.

    A part that is trained again, since its slot was lost, reports the same epochs again: they get
    the same answers, and the population's observer hears of each once.

    Attributes:
        number: of the part in its population.
        whole: what it shares with the others.
        lost: how many slots were lost with it.
        begun: whether its training was ever begun.
        folder: where an engine keeps its files, if it does.
    """

    spec: PopulationSpec
    members: Sequence[Member]
    number: int
    whole: Whole
    lost: int = 0
    begun: bool = False
    folder: Path | None = None
    answers: dict[int, Mapping[str, str]] = field(default_factory=dict)

    @property
    def students(self) -> str:
        """Its members, as the subject of a sentence."""
        count = len(self.members)
        return "1 student is" if count == 1 else f"{count} students are"

    def step(self, done: int, total: int) -> None:
        """Optimiser steps done, of all: passed on for the whole population."""
        whole = self.whole
        with whole.lock:
            whole.progress[self.number] = (done, total)
            sums = [sum(one) for one in zip(*whole.progress.values(), strict=True)]
            whole.observer.step(sums[0], sums[1])

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        """Who leaves after this epoch, and why."""
        with self.whole.lock:
            if epoch not in self.answers:
                self.answers[epoch] = dict(self.whole.observer.epoch(epoch, records))
            return self.answers[epoch]


def cut(members: Sequence[Member], parts: int) -> list[list[Member]]:
    """Consecutive parts whose sizes differ by at most one; none is empty."""
    parts = min(parts, len(members))
    bounds = [len(members) * i // parts for i in range(parts + 1)]
    return [list(members[a:b]) for a, b in itertools.pairwise(bounds)]


def _joined(futures: Sequence[Future[Results]], whole: Whole) -> Future[Results]:
    """One future of all parts: all of their results, or what the first to fail has raised."""
    joined: Future[Results] = Future()
    joined.set_running_or_notify_cancel()
    waiting = len(futures)
    lock = threading.Lock()

    def ended(future: Future[Results]) -> None:
        nonlocal waiting
        error = CancelledError() if future.cancelled() else future.exception()
        with lock:
            waiting -= 1
            if joined.done():
                return
            if error is not None:
                whole.ended.set()
                joined.set_exception(error)
            elif waiting == 0:
                joined.set_result({k: v for one in futures for k, v in one.result().items()})

    for future in futures:
        future.add_done_callback(ended)
    return joined
