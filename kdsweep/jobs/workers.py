"""A population over processes of one thread each: the execution that wins on a CPU.

Each worker runs the one loop on its part of the members. Images and the bank of teacher logits
are files that all of them map into memory. A worker asks its parent after every epoch who leaves,
and ends with it. One that is lost, such as by SIGKILL, is replaced, and its part trained again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from kdsweep.data.device import Datasets
from kdsweep.errors import KdsweepError, WorkerLost
from kdsweep.jobs.networks import PopulationSpec
from kdsweep.jobs.population import train_population
from kdsweep.teachers.bank import Banks
from kdsweep.train.interfaces import Observer, Trained
from kdsweep.train.population import Member

log = logging.getLogger(__name__)
STEP_SECONDS = 0.25  # between reports of progress
CLOSED = (EOFError, OSError)  # what a pipe raises whose other end is gone, even in mid-message


@dataclass(kw_only=True)
class _Part:
    """The members that one worker trains.

    Attributes:
        answers: what the observer said to each epoch. A part that is trained again reports the
            same epochs again, and gets the same answers; the observer hears of each once.
        progress: optimiser steps done, and all.
    """

    members: list[Member]
    answers: list[dict[str, str]] = field(default_factory=list)
    progress: tuple[int, int] = (0, 1)
    lost: bool = False  # a worker was, once

    def answer(
        self, observer: Observer, epoch: int, records: Mapping[str, Mapping[str, float]]
    ) -> dict[str, str]:
        """Who leaves after this epoch, and why."""
        if epoch == len(self.answers):
            self.answers.append(dict(observer.epoch(epoch, records)))
        return self.answers[epoch]


class Worker:
    """A process, and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _without_interrupts(), _without_script():
            self.process.start()
        theirs.close()

    def send(self, message: object) -> None:
        """Send by value, if it is still there."""
        with contextlib.suppress(*CLOSED):  # whoever reads next will notice
            _send(self.pipe, message)

    def end(self) -> int | None:
        """The exit code of a worker that is not needed any more, or is lost."""
        self.pipe.close()
        self.process.kill()
        self.process.join()
        return self.process.exitcode


class Workers:
    """Processes that wait for parts of populations to train; started when needed, reused."""

    def __init__(self) -> None:
        self.running: list[Worker] = []

    def train(
        self,
        spec: PopulationSpec,
        members: Sequence[Member],
        observer: Observer,
        *,
        processes: int,
    ) -> dict[str, Trained]:
        """Train the members, a balanced part in each process; one result each, by name.

        Raises:
            WorkerLost: a process died, and so did the one that trained its part again.
            KdsweepError: what a worker raised; anything else that it raises is unexpected.
        """
        parts = [_Part(members=part) for part in split(members, processes)]
        try:
            while len(self.running) < len(parts):
                self.running.append(Worker())
            return self._train(spec, parts, observer)
        except BaseException:  # what the others still have to say is nobody's
            self.stop()
            raise

    def _train(
        self, spec: PopulationSpec, parts: Sequence[_Part], observer: Observer
    ) -> dict[str, Trained]:
        for worker, part in zip(self.running, parts, strict=False):
            worker.send((spec, part.members))
        busy = dict(enumerate(parts))
        results: dict[str, Trained] = {}
        while busy:
            pipes = {self.running[i].pipe: i for i in busy}
            for pipe in multiprocessing.connection.wait(list(pipes)):
                assert isinstance(pipe, Connection)
                i = pipes[pipe]
                part = busy[i]
                try:
                    kind, content = _receive(pipe)
                except CLOSED:
                    self._replace(i, part)
                    self.running[i].send((spec, part.members))
                    continue
                if kind == "step":
                    part.progress = content
                    done, total = (sum(x) for x in zip(*(p.progress for p in parts), strict=True))
                    observer.step(done, total)
                elif kind == "epoch":
                    self.running[i].send(part.answer(observer, *content))
                elif kind == "done":
                    results.update(content)
                    del busy[i]
                else:
                    raise content
        return results

    def _replace(self, i: int, part: _Part) -> None:
        """A fresh worker in the place of one that was lost.

        Raises:
            WorkerLost: it is the second one that is lost with this part.
        """
        self.running[i].process.join(timeout=5)  # it may be about to end by itself
        code = self.running[i].end()
        cause = f"exit status {code}"
        if code is not None and code < 0:
            cause = signal.Signals(-code).name
        if part.lost:
            memory = ""
            if code == -signal.SIGKILL:
                memory = ", as the system does when memory runs out"
            raise WorkerLost(
                f"a training process was lost twice ({cause}{memory}); free some memory and give "
                "the same command again: what is finished is kept"
            )
        part.lost = True
        names = "1 student is" if len(part.members) == 1 else f"{len(part.members)} students are"
        log.warning("a training process was lost (%s); %s trained again", cause, names)
        self.running[i] = Worker()

    def stop(self) -> None:
        """End all processes at once."""
        for worker in self.running:
            worker.end()
        self.running = []


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """Start a process that does not run the program's own script again.

    A script need not keep its sweep behind ``if __name__ == "__main__"`` then. Nothing that a
    worker is sent is defined there.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def split(members: Sequence[Member], parts: int) -> list[list[Member]]:
    """Consecutive parts whose sizes differ by at most one; none is empty."""
    parts = min(parts, len(members))
    bounds = [len(members) * i // parts for i in range(parts + 1)]
    return [list(members[a:b]) for a, b in itertools.pairwise(bounds)]


class _Remote:
    """The observer in a worker: the parent decides."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.sent = 0.0

    def step(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.sent >= STEP_SECONDS or done == total:
            _send(self.pipe, ("step", (done, total)))
            self.sent = now

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        _send(self.pipe, ("epoch", (epoch, records)))
        leaving: Mapping[str, str] = _receive(self.pipe)
        return leaving


def _serve(pipe: Connection) -> None:
    """What a worker does: train what comes, until its parent ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(*CLOSED):
        datasets, banks = Datasets(), Banks()
        while True:
            spec, members = _receive(pipe)
            _send(pipe, _train_part(spec, members, pipe, datasets, banks))


def _train_part(
    spec: PopulationSpec,
    members: list[Member],
    pipe: Connection,
    datasets: Datasets,
    banks: Banks,
) -> tuple[str, object]:
    train = dataclasses.replace(spec.config.train, fuse="loop", threads=1)
    own = dataclasses.replace(spec, config=dataclasses.replace(spec.config, train=train))
    try:
        return "done", train_population(
            own, members, _Remote(pipe), datasets=datasets, banks=banks
        )
    except KdsweepError as error:
        return "error", error
    except Exception as error:
        return "error", portable(error)


def portable(error: Exception) -> Exception:
    """The error itself, or where it can't travel what it says, with its traceback as a note."""
    note = f"in a training process:\n{traceback.format_exc()}"
    try:
        error = pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


def _end_with_parent() -> None:
    """End this process when its parent ends, however that ends, whatever this one is doing."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _send(pipe: Connection, message: object) -> None:
    """Send by value; ``Connection.send`` would send handles on the memory of tensors."""
    pipe.send_bytes(pickle.dumps(message))


def _receive(pipe: Connection) -> Any:
    return pickle.loads(pipe.recv_bytes())


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What starts meanwhile never hears Ctrl-C, from its first import on: its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # its own start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
