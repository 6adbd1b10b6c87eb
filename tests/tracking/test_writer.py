from __future__ import annotations

import logging
import threading
import time

import pytest

from kdsweep.tracking import writer
from kdsweep.tracking.writer import BackgroundWriter, Point

Sent = list[tuple[str, list[Point]]]


def points(*steps: int) -> list[Point]:
    return [Point("loss", float(step), 0, step) for step in steps]


def until(condition: threading.Event) -> None:
    assert condition.wait(5)


class SlowStore:
    """Takes the first call when told to, and later ones at once."""

    def __init__(self) -> None:
        self.sent: Sent = []
        self.called = threading.Event()
        self.go = threading.Event()

    def __call__(self, run: str, batch: list[Point]) -> None:
        self.called.set()
        until(self.go)
        self.sent.append((run, batch))


class BrokenStore:
    """Refuses every call until it is mended."""

    def __init__(self) -> None:
        self.sent: Sent = []
        self.broken = True
        self.called = threading.Event()

    def __call__(self, run: str, batch: list[Point]) -> None:
        self.called.set()
        if self.broken:
            raise OSError("disk full")
        self.sent.append((run, batch))


def test_points_arrive_without_a_flush() -> None:
    arrived = threading.Event()
    queue = BackgroundWriter(lambda run, batch: arrived.set())
    queue.add("a", points(1))
    until(arrived)
    queue.stop()


def test_adding_does_not_wait_for_the_store() -> None:
    store = SlowStore()
    queue = BackgroundWriter(store)
    began = time.monotonic()
    for step in range(100):
        queue.add("a", points(step))
    assert time.monotonic() - began < 1
    store.go.set()
    queue.flush()
    queue.stop()
    assert [p for _, batch in store.sent for p in batch] == points(*range(100))


def test_epochs_that_wait_go_in_one_call() -> None:
    store = SlowStore()
    queue = BackgroundWriter(store)
    queue.add("a", points(0))
    until(store.called)
    for step in range(1, 16):
        queue.add("a", points(step))
    store.go.set()
    queue.flush()
    queue.stop()
    assert store.sent == [("a", points(0)), ("a", points(*range(1, 16)))]


def test_a_call_holds_at_most_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BATCH", 4)
    store = SlowStore()
    store.go.set()
    queue = BackgroundWriter(store)
    queue.add("a", points(*range(10)))
    queue.flush()
    queue.stop()
    assert [len(batch) for _, batch in store.sent] == [4, 4, 2]
    assert [p.step for _, batch in store.sent for p in batch] == list(range(10))


def test_flushing_one_run_leaves_the_others_to_the_thread() -> None:
    store = SlowStore()
    queue = BackgroundWriter(store)
    queue.add("a", points(0))
    until(store.called)
    queue.add("b", points(1))
    queue.add("c", points(2))
    store.go.set()
    queue.flush("c")
    assert ("c", points(2)) in store.sent
    queue.flush()
    queue.stop()
    assert sorted(store.sent) == [("a", points(0)), ("b", points(1)), ("c", points(2))]


def test_what_the_store_refuses_is_told_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    store = BrokenStore()
    queue = BackgroundWriter(store)
    with caplog.at_level(logging.WARNING):
        queue.add("a", points(0, 1))
        until(store.called)
        queue.add("a", points(2))
        with pytest.raises(OSError, match="disk full"):
            queue.flush("a")
        queue.stop()
    assert [record.message for record in caplog.records] == [
        "Records wait, since the store does not take them: disk full"
    ]
    store.broken = False
    queue.flush()
    assert store.sent == [("a", points(0, 1, 2))]
    queue.flush()
    assert len(store.sent) == 1


def test_the_thread_tries_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    store = BrokenStore()
    queue = BackgroundWriter(store)
    queue.add("a", points(0))
    until(store.called)
    store.broken = False
    deadline = time.monotonic() + 5
    while not store.sent and time.monotonic() < deadline:
        time.sleep(0.005)
    queue.stop()
    assert store.sent == [("a", points(0))]


def test_one_refused_run_does_not_hold_up_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    arrived = threading.Event()

    def send(run: str, batch: list[Point]) -> None:
        if run == "deleted":
            raise ValueError("no such run")
        arrived.set()

    queue = BackgroundWriter(send)
    queue.add("deleted", points(0))
    queue.add("good", points(0))
    until(arrived)
    queue.stop()


def test_a_stopped_writer_starts_again() -> None:
    arrived = threading.Event()
    queue = BackgroundWriter(lambda run, batch: arrived.set())
    queue.add("a", points(0))
    until(arrived)
    queue.stop()
    queue.stop()
    arrived.clear()
    queue.add("a", points(1))
    until(arrived)
    queue.stop()


def test_many_threads_and_runs_lose_nothing() -> None:
    store = SlowStore()
    store.go.set()
    queue = BackgroundWriter(store)

    def log(run: str) -> None:
        for step in range(200):
            queue.add(run, points(step))

    threads = [threading.Thread(target=log, args=(f"run{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.flush()
    queue.stop()
    for n in range(8):
        assert [p.step for run, batch in store.sent if run == f"run{n}" for p in batch] == list(
            range(200)
        )


def test_calls_go_before_the_points() -> None:
    order: list[str] = []
    started, go = threading.Event(), threading.Event()

    def params() -> None:
        started.set()
        until(go)
        order.append("params")

    queue = BackgroundWriter(lambda run, batch: order.append("points"))
    queue.first("a", params)
    until(started)
    queue.add("a", points(1))
    queue.first("a", lambda: order.append("config"))
    go.set()
    queue.flush()
    queue.stop()
    assert order == ["params", "config", "points"]


def test_a_call_that_the_store_refuses_is_told_and_kept() -> None:
    store = BrokenStore()
    queue = BackgroundWriter(store)
    queue.first("a", lambda: store("a", points(0)))
    until(store.called)
    queue.add("a", points(1))
    with pytest.raises(OSError, match="disk full"):
        queue.flush("a")
    queue.stop()
    store.broken = False
    queue.flush()
    queue.flush()
    assert store.sent == [("a", points(0)), ("a", points(1))]
