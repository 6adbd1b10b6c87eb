"""A process that trains what it is sent: parts of populations, one after the other.

It runs the one loop on its part. Images and the bank of teacher logits are files that all workers
map into memory. A worker asks its parent after every epoch who leaves, and ends with it.
"""

from __future__ import annotations

import abc
import contextlib
import multiprocessing
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
from multiprocessing.connection import Connection
from typing import Any

from kdsweep.data.device import Datasets
from kdsweep.engines.engine import Part, Results
from kdsweep.engines.networks import PopulationSpec
from kdsweep.engines.population import train_population
from kdsweep.errors import KdsweepError
from kdsweep.teachers.bank import Banks
from kdsweep.train.interfaces import Observer
from kdsweep.train.population import Member

STEP_SECONDS = 0.25  # between reports of progress
LOOK_SECONDS = 0.5  # between looks at whether the other parts have failed
_STARTING = threading.Lock()  # a start changes this process for a moment
CLOSED = (EOFError, OSError)  # what a pipe raises whose other end is gone, even in mid-message


class Worker:
    """A process, and the pipe to it. One thread at a time uses it; any may kill it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.killed = False
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _STARTING, _without_interrupts(), _without_script():
            self.process.start()
        theirs.close()

    def train(self, part: Part, spec: PopulationSpec) -> Results:
        """Train a part's members as ``spec`` says; what became of them.

        Raises:
            WorkerEnded: the process has ended, or the other parts of the population have.
            Exception: what the process raised.
        """
        try:
            _send(self.pipe, (spec, list(part.members)))
            while True:
                if not self.pipe.poll(LOOK_SECONDS):
                    if part.whole.ended.is_set():
                        raise WorkerEnded
                    continue
                kind, content = _receive(self.pipe)
                if kind == "step":
                    part.step(*content)
                elif kind == "epoch":
                    _send(self.pipe, part.epoch(*content))
                elif kind == "done":
                    results: Results = content
                    return results
                else:
                    failed: BaseException = content
                    break
        except CLOSED as error:
            raise WorkerEnded from error
        except BaseException:  # it waits for an answer that it will not get
            self.kill()
            raise
        raise failed

    def kill(self) -> None:
        """End the process at once; whoever waits for it hears that it has ended."""
        self.killed = True
        self.process.kill()

    def end(self) -> str:
        """Put away a worker that is not needed any more, or is lost; how it ended."""
        self.process.join(timeout=5)  # it may be about to end by itself
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"


class WorkerEnded(Exception):
    """A worker ended before what it trained."""


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


class Reporter(abc.ABC):
    """The observer where a part trains: it reports to the process that decides."""

    def __init__(self) -> None:
        self.sent = 0.0

    @abc.abstractmethod
    def report(self, kind: str, content: object) -> None:
        """Send a message, and don't wait for an answer."""

    def step(self, done: int, total: int) -> None:
        """Report progress, not too often."""
        now = time.monotonic()
        if now - self.sent >= STEP_SECONDS or done == total:
            self.report("step", (done, total))
            self.sent = now

    @abc.abstractmethod
    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        """Report an epoch; who leaves, and why."""


class _Piped(Reporter):
    """Reports through a pipe."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self.pipe = pipe

    def report(self, kind: str, content: object) -> None:
        _send(self.pipe, (kind, content))

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        self.report("epoch", (epoch, records))
        leaving: Mapping[str, str] = _receive(self.pipe)
        return leaving


def _serve(pipe: Connection) -> None:
    """What a worker does: train what comes, until its parent ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(*CLOSED):
        datasets, banks = Datasets(), Banks()
        while True:
            spec, members = _receive(pipe)
            _send(pipe, train_outcome(spec, members, _Piped(pipe), datasets, banks))


def train_outcome(
    spec: PopulationSpec,
    members: Sequence[Member],
    observer: Observer,
    datasets: Datasets | None = None,
    banks: Banks | None = None,
) -> tuple[str, object]:
    """Train as ``train_population``: "done" and the results, or "error" and what was raised."""
    try:
        return "done", train_population(spec, members, observer, datasets=datasets, banks=banks)
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
