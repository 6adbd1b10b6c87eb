from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kdsweep.tracking import writer
from kdsweep.tracking.base import RecordRefused, StoreAway
from kdsweep.tracking.outbox import FOLDER, Outbox
from kdsweep.tracking.records import LogFile, LogPoints, LogText, Point, Record, SetTags
from kdsweep.tracking.writer import BackgroundWriter

Sent = list[tuple[str, list[Point]]]
Create = Callable[[Callable[[Sequence[Record]], None]], BackgroundWriter]


def points(*steps: int) -> list[Point]:
    return [Point("loss", float(step), 0, step) for step in steps]


def log(queue: BackgroundWriter, run: str, *steps: int) -> None:
    queue.add(LogPoints(run=run, points=tuple(points(*steps))))


def steps_of(records: Sequence[Record]) -> list[int]:
    return [p.step for each in records if isinstance(each, LogPoints) for p in each.points]


def until(condition: threading.Event) -> None:
    assert condition.wait(5)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path, store="a store", experiment="kdsweep")


@pytest.fixture
def create(outbox: Outbox) -> Create:
    return lambda send: BackgroundWriter(send, outbox.create)


class SlowStore:
    """Takes the first call when told to, and later ones at once."""

    def __init__(self) -> None:
        self.sent: Sent = []
        self.called = threading.Event()
        self.go = threading.Event()

    def __call__(self, records: Sequence[Record]) -> None:
        self.called.set()
        until(self.go)
        self.sent.append((records[0].run, points(*steps_of(records))))


class BrokenStore:
    """Refuses every call until it is mended."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.broken = True
        self.called = threading.Event()

    def __call__(self, records: Sequence[Record]) -> None:
        self.called.set()
        if self.broken:
            raise StoreAway("the store: connection refused")
        self.sent += records

    @property
    def steps(self) -> list[int]:
        return steps_of(self.sent)


def test_points_arrive_without_a_flush(create: Create) -> None:
    arrived = threading.Event()
    queue = create(lambda records: arrived.set())
    log(queue, "a", 1)
    until(arrived)
    queue.finish(0)


def test_adding_does_not_wait_for_the_store(create: Create) -> None:
    store = SlowStore()
    queue = create(store)
    began = time.monotonic()
    for step in range(100):
        log(queue, "a", step)
    assert time.monotonic() - began < 1
    store.go.set()
    queue.flush()
    queue.finish(0)
    assert [p for _, batch in store.sent for p in batch] == points(*range(100))


def test_epochs_that_wait_go_in_one_call(create: Create) -> None:
    store = SlowStore()
    queue = create(store)
    log(queue, "a", 0)
    until(store.called)
    for step in range(1, 16):
        log(queue, "a", step)
    store.go.set()
    queue.flush()
    queue.finish(0)
    assert store.sent == [("a", points(0)), ("a", points(*range(1, 16)))]


def test_a_call_holds_at_most_a_batch(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BATCH", 4)
    store = SlowStore()
    queue = create(store)
    log(queue, "a", 0)
    until(store.called)
    for step in range(1, 10, 3):
        log(queue, "a", *range(step, step + 3))
    store.go.set()
    queue.flush()
    queue.finish(0)
    assert [len(batch) for _, batch in store.sent] == [1, 3, 3, 3]
    assert [p.step for _, batch in store.sent for p in batch] == list(range(10))


def test_flushing_one_run_leaves_the_others_to_the_thread(create: Create) -> None:
    store = SlowStore()
    queue = create(store)
    log(queue, "a", 0)
    until(store.called)
    log(queue, "b", 1)
    log(queue, "c", 2)
    store.go.set()
    queue.flush("c")
    assert ("c", points(2)) in store.sent
    queue.flush()
    queue.finish(0)
    assert sorted(store.sent) == [("a", points(0)), ("b", points(1)), ("c", points(2))]


def test_what_a_store_that_is_away_does_not_take_waits_on_disk(
    create: Create, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    store = BrokenStore()
    queue = create(store)
    with caplog.at_level(logging.INFO):
        log(queue, "a", 0, 1)
        until(store.called)
        log(queue, "a", 2)
        with pytest.raises(StoreAway, match="refused"):
            queue.flush("a")
        assert queue.is_away
        log(queue, "b", 3)
        (file,) = outbox.folder.glob("*.jsonl")
        assert [line.count("LogPoints") for line in file.read_text().splitlines()] == [0, 1, 1, 1]
        store.broken = False
        queue.flush()
    queue.finish(0)
    assert store.steps == [0, 1, 2, 3]
    assert not queue.is_away
    assert list(outbox.folder.iterdir()) == [], "what is delivered leaves nothing"
    assert [record.message for record in caplog.records] == [
        "the store: connection refused; training goes on, and records wait under root",
        "The tracking store is back and has all records",
    ]


def test_the_thread_tries_again_by_itself(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    store = BrokenStore()
    queue = create(store)
    log(queue, "a", 0)
    until(store.called)
    store.broken = False
    deadline = time.monotonic() + 5
    while not store.sent and time.monotonic() < deadline:
        time.sleep(0.005)
    queue.finish(0)
    assert store.steps == [0]


def test_a_store_that_comes_back_in_time_gets_everything_at_the_end(
    create: Create, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LAST_RETRY_S", 0.0)
    tries: list[int] = []

    def send(records: Sequence[Record]) -> None:
        tries.append(1)
        if len(tries) < 4:
            raise StoreAway("away")

    queue = create(send)
    log(queue, "a", 0)
    queue.finish(60)
    assert len(tries) == 4
    assert list(outbox.folder.iterdir()) == []


def test_what_is_left_at_the_end_is_said_and_can_be_delivered(
    create: Create, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    queue = create(BrokenStore())
    log(queue, "a", 0)
    queue.finish(0)
    queue.finish(0)
    (file,) = outbox.folder.glob("*.jsonl")
    assert [record.message for record in caplog.records][1:] == [
        f"Records (1) wait in {file}; the next session with this root and store delivers them"
    ]
    (journal,) = outbox.left()
    assert journal.waiting() == [(0, LogPoints(run="a", points=tuple(points(0))))]
    journal.close()


def test_what_was_taken_before_another_outage_is_not_left(create: Create, outbox: Outbox) -> None:
    calls: list[int] = []

    def send(records: Sequence[Record]) -> None:
        calls.append(1)
        if len(calls) != 2:
            raise StoreAway("away")

    queue = create(send)
    for n in "01":
        queue.add(SetTags(run="a", tags={"n": n}))
    for _ in range(2):
        with pytest.raises(StoreAway):
            queue.flush()
    queue.finish(0)
    (journal,) = outbox.left()
    assert [record for _, record in journal.waiting()] == [SetTags(run="a", tags={"n": "1"})]
    journal.close()


def test_a_file_that_waits_may_be_deleted(create: Create, outbox: Outbox, tmp_path: Path) -> None:
    store = BrokenStore()
    queue = create(store)
    log(queue, "a", 0)
    with pytest.raises(StoreAway):
        queue.flush()
    (tmp_path / "weights.bin").write_bytes(b"12")
    queue.add(LogFile(run="a", path=str(tmp_path / "weights.bin"), folder="checkpoint"))
    (tmp_path / "weights.bin").unlink()
    kept: list[bytes] = []

    def send(records: Sequence[Record]) -> None:
        (record,) = records
        if isinstance(record, LogFile):
            assert Path(record.path).name == "weights.bin"
            kept.append(Path(record.path).read_bytes())

    queue._send = send
    queue.finish(0.001)
    assert kept == [b"12"]
    assert list(outbox.folder.iterdir()) == []


def test_a_disk_that_takes_nothing_either_keeps_them_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    store = BrokenStore()
    queue = BackgroundWriter(store, Outbox(tmp_path, store="s", experiment="e").create)
    log(queue, "a", 0)
    with pytest.raises(StoreAway):
        queue.flush()
    log(queue, "a", 1)
    assert "Records wait in memory alone" in caplog.text
    queue.finish(0)
    assert caplog.messages[-1] == "The last records (2) for the tracking store are lost"


def test_a_disk_with_room_again_keeps_what_still_waits(
    create: Create, outbox: Outbox, tmp_path: Path
) -> None:
    in_the_way = tmp_path / FOLDER
    in_the_way.write_text("")
    taken: list[int] = []

    def send(records: Sequence[Record]) -> None:
        if len(taken) != 1:
            taken.append(0)
            raise StoreAway("away")
        taken.append(1)

    queue = create(send)
    queue.add(SetTags(run="a", tags={"n": "0"}))
    with pytest.raises(StoreAway):
        queue.flush()
    queue.add(SetTags(run="a", tags={"n": "1"}))
    with pytest.raises(StoreAway):
        queue.flush()  # takes the first
    in_the_way.unlink()
    queue.add(SetTags(run="a", tags={"n": "2"}))
    queue.finish(0)
    (journal,) = outbox.left()
    assert [record for _, record in journal.waiting()] == [
        SetTags(run="a", tags={"n": "1"}),
        SetTags(run="a", tags={"n": "2"}),
    ]
    journal.close()


def test_one_refused_run_does_not_hold_up_another(
    create: Create, caplog: pytest.LogCaptureFixture
) -> None:
    arrived = threading.Event()

    def send(records: Sequence[Record]) -> None:
        if records[0].run == "deleted":
            raise RecordRefused("no such run")
        arrived.set()

    queue = create(send)
    log(queue, "deleted", 0)
    log(queue, "good", 0)
    until(arrived)
    queue.add(SetTags(run="deleted", tags={}))
    queue.flush()
    queue.finish(0)
    assert caplog.messages == ["no such run; the store will not have it"], "once for each run"


def test_a_stopped_writer_starts_again(create: Create) -> None:
    arrived = threading.Event()
    queue = create(lambda records: arrived.set())
    log(queue, "a", 0)
    until(arrived)
    queue.finish(0)
    queue.finish(0)
    arrived.clear()
    log(queue, "a", 1)
    until(arrived)
    queue.finish(0)


def test_many_threads_and_runs_lose_nothing(create: Create) -> None:
    store = SlowStore()
    store.go.set()
    queue = create(store)

    def many(run: str) -> None:
        for step in range(200):
            log(queue, run, step)

    threads = [threading.Thread(target=many, args=(f"run{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.flush()
    queue.finish(0)
    for n in range(8):
        assert [p.step for run, batch in store.sent if run == f"run{n}" for p in batch] == list(
            range(200)
        )


def test_records_of_a_run_keep_their_order(create: Create) -> None:
    store = BrokenStore()
    queue = create(store)
    log(queue, "a", 0)
    until(store.called)
    log(queue, "a", 1)
    queue.add(LogText(run="a", text="x", file="x.txt"))
    log(queue, "a", 2)
    store.broken = False
    queue.flush()
    queue.finish(0)
    kinds = [type(record).__name__ for record in store.sent]
    assert kinds == ["LogPoints", "LogPoints", "LogText", "LogPoints"]
    assert store.steps == [0, 1, 2]


def test_a_parent_is_sent_before_its_children(create: Create) -> None:
    store = BrokenStore()
    queue = create(store)
    for run in ("z", "y", "x"):
        log(queue, run, 0)
    store.broken = False
    queue.flush()
    queue.finish(0)
    assert [record.run for record in store.sent] == ["z", "y", "x"]
