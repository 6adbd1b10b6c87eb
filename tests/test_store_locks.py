"""Processes that want the same artefacts wait for one another."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kdsweep import store
from kdsweep.store import (
    Store,
    digest,
)
from tests.test_store import fork, write


def _make_once(root: Path, made: Any) -> None:
    store = Store(root)
    with store.lock("kind", "key"):
        if store.find("kind", "key") is None:
            time.sleep(0.05)
            with made.get_lock():
                made.value += 1
            write(store)


def test_processes_that_want_the_same_make_it_once(tmp_path: Path) -> None:
    made = multiprocessing.get_context("fork").Value("i", 0)
    processes = [fork(_make_once, tmp_path, made) for _ in range(4)]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert made.value == 1
    assert Store(tmp_path).find("kind", "key") is not None


def _lock_and_die(root: Path) -> None:
    Store(root).lock("kind", "key").acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lock_ends_with_its_owner_and_is_for_one_artefact(tmp_path: Path) -> None:
    fork(_lock_and_die, tmp_path).join(30)
    store = Store(tmp_path)
    with store.lock("kind", "key").acquire(timeout=1), store.lock("kind", "x").acquire(timeout=1):
        pass


@pytest.fixture
def few_files() -> Iterator[None]:
    """As many open files as there are, and 100 more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
def test_a_group_of_any_size_is_locked_with_few_files(tmp_path: Path) -> None:
    keys = [digest(i) for i in range(2000)]
    with ExitStack() as held:
        for lock in Store(tmp_path).group_locks("kind", keys):
            held.enter_context(lock)
    assert len(list((tmp_path / "store" / "kind").iterdir())) == store.GROUP_LOCKS


def _hold_group(root: Path, keys: list[str], held: Any, go: Any) -> None:
    with ExitStack() as stack:
        for lock in Store(root).group_locks("kind", keys):
            stack.enter_context(lock)
        held.set()
        go.wait(30)


def test_groups_wait_for_one_another_where_they_share_a_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, go = context.Event(), context.Event()
    keys = [digest(i) for i in range(3)]
    process = fork(_hold_group, tmp_path, keys, held, go)
    assert held.wait(30)
    code = (
        "import sys; from pathlib import Path; from kdsweep.store import Store;"
        "locks = Store(Path(sys.argv[1])).group_locks('kind', sys.argv[2:]);"
        "[lock.acquire(timeout=0) for lock in locks]"
    )

    def locks(*wanted: str) -> bool:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), *wanted], capture_output=True, check=False
        )
        assert done.returncode == 0 or b"Timeout" in done.stderr
        return done.returncode == 0

    free = next(k for k in map(digest, range(3, 99)) if _shares(k).isdisjoint(_shares(*keys)))
    assert not locks(keys[1], free)
    assert locks(free)
    go.set()
    process.join(30)
    assert locks(*keys)


def _shares(*keys: str) -> set[int]:
    return {zlib.crc32(key.encode()) % store.GROUP_LOCKS for key in keys}
