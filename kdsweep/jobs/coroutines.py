"""Batches that train at the same time: coroutines that wait for engines and for locks.

A batch does everything but the training itself in the main thread: it checks, evaluates, logs and
writes. While its populations train elsewhere it waits, and others go on. ``asyncio`` is not used,
since a notebook runs an event loop of its own already, and a main thread that trains itself would
not hear Ctrl-C in one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import filelock

T = TypeVar("T")
AGAIN_SECONDS = 0.1  # between looks at a lock that somebody else holds


class _Waiting(Generic[T]):
    """Hands a future to whoever drives the coroutine, and goes on when it is done."""

    def __init__(self, future: Future[T] | None) -> None:
        self.future = future

    def __await__(self) -> Generator[Future[Any] | None, None, None]:
        yield self.future


async def result_of(future: Future[T]) -> T:
    """Wait for a future; its result, or what it raises."""
    if not future.done():
        await _Waiting(future)
    return future.result()


@asynccontextmanager
async def holding(locks: Sequence[filelock.BaseFileLock]) -> AsyncIterator[None]:
    """Hold locks, taken in this order; while somebody else has one, other coroutines go on.

    Who else may be another process or another coroutine of this one: none of the locks is held
    while one is waited for.
    """
    while not _take(locks):
        await _Waiting(None)
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def _take(locks: Sequence[filelock.BaseFileLock]) -> bool:
    taken: list[filelock.BaseFileLock] = []
    for lock in locks:
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            for one in taken:
                one.release()
            return False
        taken.append(lock)
    return True


class Running(Generic[T]):
    """A coroutine that was started: it goes on whenever what it waits for is there."""

    def __init__(self, work: Coroutine[Future[Any] | None, None, T]) -> None:
        self._work = work
        self._context = contextvars.copy_context()
        self._waits: Future[Any] | None = None
        self._result: list[T] = []  # one, when it has ended
        self._error: BaseException | None = None
        self.done = False
        self.resume()

    @property
    def waits_for(self) -> Future[Any] | None:
        """What it waits for; None where it looks again soon."""
        return self._waits

    def resume(self) -> None:
        """Go on until it has to wait again, or has ended; an interrupt is raised at once."""
        self._step(lambda: self._work.send(None))

    def stop(self, error: BaseException) -> None:
        """Raise an error where it waits, and let it end."""
        if not self.done:
            self._step(lambda: self._work.throw(error))

    def _step(self, go: Any) -> None:
        try:
            self._waits = self._context.run(go)
        except StopIteration as end:
            self.done, self._result = True, [end.value]
        except BaseException as error:
            self.done, self._error = True, error

    def result(self) -> T:
        """What it returned; raises what it raised."""
        assert self.done
        if self._error is not None:
            raise self._error
        return self._result[0]


async def all_of(
    works: Sequence[Coroutine[Future[Any] | None, None, T]], *, room: Callable[[], bool]
) -> list[T]:
    """Run coroutines side by side, each begun once there is room for it; their results.

    Raises:
        Exception: what the first of them to fail raised, after it was raised in all others.
    """
    begun: list[Running[T]] = []
    open_: list[Running[T]] = []
    waiting = list(works)
    try:
        while waiting or open_:
            while waiting and (not open_ or room()):
                begun.append(Running(waiting.pop(0)))
                open_ = _still_open(begun)
            if open_:
                await _Waiting(_first_of(open_))
                for one in open_:
                    if one.waits_for is None or one.waits_for.done():
                        one.resume()
                open_ = _still_open(begun)
    except BaseException as error:
        for one in begun:
            one.stop(error)
        raise
    finally:
        for work in waiting:
            work.close()
    return [one.result() for one in begun]


def _still_open(begun: Sequence[Running[T]]) -> list[Running[T]]:
    """Those that have not ended; raises what one of the others did."""
    for one in begun:
        if one.done:
            one.result()
    return [one for one in begun if not one.done]


def _first_of(running: Sequence[Running[Any]]) -> Future[None] | None:
    """Done when the first of what they wait for is; None where one of them looks again soon."""
    first: Future[None] = Future()

    def done(_: Future[Any]) -> None:
        with contextlib.suppress(InvalidStateError):
            first.set_result(None)

    for one in running:
        if one.waits_for is None:
            return None
        one.waits_for.add_done_callback(done)
    return first


def go_on(running: Sequence[Running[Any]], timeout: float | None = None) -> None:
    """Wait until some of them can go on, and let them; at once where one has ended.

    Args:
        running: those that were started.
        timeout: seconds after which it ends in any case; None: it waits for as long as it takes.
    """
    if any(one.done for one in running):
        return
    waited = [one.waits_for for one in running if one.waits_for is not None]
    looking = len(waited) < len(running)
    concurrent.futures.wait(
        waited, timeout=AGAIN_SECONDS if looking else timeout, return_when=FIRST_COMPLETED
    )
    for one in running:
        if one.waits_for is None or one.waits_for.done():
            one.resume()


def run(work: Coroutine[Future[Any] | None, None, T]) -> T:
    """Run one coroutine to its end."""
    running = Running(work)
    try:
        while not running.done:
            go_on([running])
    except BaseException as error:  # of the waiting itself: an interrupt
        running.stop(error)
        raise
    return running.result()
