from __future__ import annotations

import contextvars
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import filelock
import pytest

from kdsweep.jobs.coroutines import Running, all_of, go_on, holding, result_of, run

Work = Coroutine[Future[Any] | None, None, Any]


async def doubled(future: Future[int], log: list[str] | None = None, name: str = "") -> int:
    try:
        return 2 * await result_of(future)
    except BaseException as error:
        if log is not None:
            log.append(f"{name}: {error}")
        raise


def later(future: Future[int], value: int) -> None:
    threading.Timer(0.05, lambda: future.set_result(value)).start()


def test_one_runs_to_its_end_whether_it_waits_or_not() -> None:
    there: Future[int] = Future()
    there.set_result(3)
    assert run(doubled(there)) == 6
    awaited: Future[int] = Future()
    later(awaited, 4)
    assert run(doubled(awaited)) == 8


def test_what_a_future_raises_is_raised_where_it_is_awaited() -> None:
    failed: Future[int] = Future()
    failed.set_exception(ValueError("no"))
    log: list[str] = []
    with pytest.raises(ValueError, match="no"):
        run(doubled(failed, log, "a"))
    assert log == ["a: no"]


def test_several_go_on_as_their_futures_are_done() -> None:
    first, second = Future[int](), Future[int]()
    running = [Running(doubled(first)), Running(doubled(second))]
    second.set_result(1)
    go_on(running)
    assert [one.done for one in running] == [False, True]
    go_on(running)  # returns at once: one of them has ended
    first.set_result(5)
    go_on(running[:1])
    assert [one.result() for one in running] == [10, 2]


def test_one_that_is_stopped_hears_why_where_it_waits() -> None:
    log: list[str] = []
    running = Running(doubled(Future(), log, "a"))
    running.stop(KeyboardInterrupt("enough"))
    assert log == ["a: enough"]
    with pytest.raises(KeyboardInterrupt):
        running.result()
    running.stop(ValueError())  # it has ended already
    assert log == ["a: enough"]


def test_each_keeps_its_own_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []

    async def one(name: str, future: Future[int]) -> None:
        variable.set(name)
        await result_of(future)
        seen.append(variable.get())

    futures = [Future[int](), Future[int]()]
    running = [Running(one(f"job {i}", future)) for i, future in enumerate(futures)]
    for future in reversed(futures):
        future.set_result(0)
    go_on(running)
    assert seen == ["job 0", "job 1"]
    assert variable.get() == "outside"


def test_they_begin_when_there_is_room() -> None:
    futures = [Future[int]() for _ in range(3)]
    room = [True, False]
    begun: list[int] = []

    async def one(i: int) -> int:
        begun.append(i)
        return await doubled(futures[i])

    running = Running(all_of([one(i) for i in range(3)], room=lambda: room.pop(0)))
    assert begun == [0, 1]
    room.append(False)
    futures[1].set_result(1)
    go_on([running])
    assert begun == [0, 1]  # there is none, and the first goes on
    futures[0].set_result(0)
    go_on([running])
    assert begun == [0, 1, 2]
    futures[2].set_result(2)
    go_on([running])
    assert running.result() == [0, 2, 4]


def test_the_first_to_fail_ends_the_others() -> None:
    log: list[str] = []
    futures = [Future[int]() for _ in range(3)]
    works = [doubled(future, log, str(i)) for i, future in enumerate(futures)]
    room = [True]
    running = Running(all_of(works, room=lambda: bool(room) and room.pop()))
    futures[1].set_exception(ValueError("broken"))
    go_on([running])
    with pytest.raises(ValueError, match="broken"):
        running.result()
    assert log == ["1: broken", "0: broken"]  # and the third never began


def test_while_somebody_holds_a_lock_others_go_on(tmp_path: Path) -> None:
    """Two want both locks, in one order; a third has the second of them."""
    paths = [tmp_path / "a", tmp_path / "b"]
    order: list[str] = []
    futures = [Future[int](), Future[int]()]

    async def one(name: str, future: Future[int]) -> None:
        async with holding([filelock.FileLock(path) for path in paths]):
            order.append(f"{name} begins")
            await result_of(future)
            order.append(f"{name} ends")

    with filelock.FileLock(paths[1]):
        waiting = Running(one("first", futures[0]))
        assert not order
        with filelock.FileLock(paths[0], timeout=0):  # which is not held in the meantime
            pass
    go_on([waiting])
    other = Running(one("second", futures[1]))
    assert order == ["first begins"]
    for future in futures:
        future.set_result(0)
    while not (waiting.done and other.done):
        go_on([one for one in (waiting, other) if not one.done])
    assert order == ["first begins", "first ends", "second begins", "second ends"]
