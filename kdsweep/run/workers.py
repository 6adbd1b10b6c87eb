"""A population over processes of one thread each: the execution that wins on a CPU.

Each worker runs the one loop on its part of the members. Images and the bank of teacher logits
are files that all of them map into memory. A worker answers to its parent after every epoch, and
dies with it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import itertools
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

from kdsweep.errors import KdsweepError, TrainingError
from kdsweep.run.population import Group, train_group
from kdsweep.train.interfaces import Observer, Trained
from kdsweep.train.population import Member

if TYPE_CHECKING:
    from torch import Tensor

STEP_SECONDS = 0.25  # between reports of progress


class Workers:
    """Processes that wait for parts of populations to train; started once, reused."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes: list[SpawnProcess] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            with _without_interrupts():
                process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def train(
        self, group: Group, members: Sequence[Member], observer: Observer
    ) -> dict[str, Trained]:
        """Train the members, a balanced part in each process; one result each, by name.

        Raises:
            KdsweepError: what a worker raised, or that one of them died.
        """
        try:
            return self._train(group, members, observer)
        except BaseException:  # what the others still have to say is nobody's
            self.stop()
            raise

    def _train(
        self, group: Group, members: Sequence[Member], observer: Observer
    ) -> dict[str, Trained]:
        parts = split(members, len(self.pipes))
        busy: dict[Connection, int] = {}
        for i, part in enumerate(parts):
            _send(self.pipes[i], (group, part))
            busy[self.pipes[i]] = i
        progress = [(0, 1)] * len(parts)
        results: dict[str, Trained] = {}
        while busy:
            for pipe in multiprocessing.connection.wait(list(busy)):
                assert isinstance(pipe, Connection)
                i = busy[pipe]
                kind, content = self._receive(pipe, i)
                if kind == "step":
                    progress[i] = content
                    done, total = (sum(column) for column in zip(*progress, strict=True))
                    observer.step(done, total)
                elif kind == "epoch":
                    _send(pipe, dict(observer.epoch(*content)))
                elif kind == "done":
                    results.update({name: unpack(trained) for name, trained in content.items()})
                    del busy[pipe]
                else:
                    raise content
        return results

    def _receive(self, pipe: Connection, i: int) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self.processes[i].join(timeout=5)
            code = self.processes[i].exitcode
            raise TrainingError(
                f"a training process died (exit code {code}"
                f"{', killed: perhaps out of memory' if code == -signal.SIGKILL else ''}); "
                "use train.threads to start fewer of them"
            ) from error
        return message

    def stop(self) -> None:
        """End all processes at once."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        _running.pop(len(self.processes), None)


def _send(pipe: Connection, message: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # that a worker died is told where it is heard
        pipe.send(message)


_running: dict[int, Workers] = {}


def workers(count: int) -> Workers:
    """This process's ``count`` workers, started at the first call."""
    if count not in _running:
        _running[count] = Workers(count)
    return _running[count]


@atexit.register
def stop_workers() -> None:
    """End every worker of this process."""
    for running in list(_running.values()):
        running.stop()


def split(members: Sequence[Member], parts: int) -> list[list[Member]]:
    """Consecutive parts whose sizes differ by at most one; none is empty."""
    parts = min(parts, len(members))
    bounds = [len(members) * i // parts for i in range(parts + 1)]
    return [list(members[a:b]) for a, b in itertools.pairwise(bounds)]


def pack(trained: Trained) -> dict[str, Any]:
    """A result as plain arrays: tensors would be sent as handles on the sender's memory."""
    fields = {f.name: getattr(trained, f.name) for f in dataclasses.fields(trained)}
    fields["state"] = _arrays(trained.state)
    fields["logits"] = None if trained.logits is None else trained.logits.numpy()
    fields["beside"] = {part: _arrays(tensors) for part, tensors in trained.beside.items()}
    return fields


def unpack(fields: dict[str, Any]) -> Trained:
    """The inverse of ``pack``."""
    import torch

    def tensors(arrays: dict[str, Any]) -> dict[str, Tensor]:
        return {name: torch.as_tensor(value) for name, value in arrays.items()}

    beside = {part: tensors(arrays) for part, arrays in fields["beside"].items()}
    logits = None if fields["logits"] is None else torch.as_tensor(fields["logits"])
    state = tensors(fields["state"])
    return Trained(**{**fields, "state": state, "logits": logits, "beside": beside})


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: value.numpy() for name, value in tensors.items()}


class _Remote:
    """The observer in a worker: the parent decides."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.sent = 0.0

    def step(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.sent >= STEP_SECONDS or done == total:
            self.pipe.send(("step", (done, total)))
            self.sent = now

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        self.pipe.send(("epoch", (epoch, records)))
        leaving: Mapping[str, str] = self.pipe.recv()
        return leaving


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


def _serve(pipe: Connection) -> None:
    _die_with_parent()
    while True:
        try:
            group, members = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        train = dataclasses.replace(group.config.train, fuse="loop", threads=1)
        own = dataclasses.replace(group, config=dataclasses.replace(group.config, train=train))
        try:
            results = train_group(own, members, _Remote(pipe))
            pipe.send(("done", {name: pack(trained) for name, trained in results.items()}))
        except (BrokenPipeError, EOFError, ConnectionResetError):
            return
        except KdsweepError as error:
            pipe.send(("error", error))
        except Exception as error:
            pipe.send(("error", TrainingError(f"{type(error).__name__}: {error}")))


def _die_with_parent() -> None:
    """Ask Linux for a SIGKILL when the parent ends, however it ends."""
    if sys.platform.startswith("linux"):
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
