from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from kdsweep.tracking import DatasetInfo
from kdsweep.tracking.outbox import Outbox
from kdsweep.tracking.records import (
    CloseRun,
    CloseSweep,
    LogDataset,
    LogFile,
    LogParams,
    LogPoints,
    LogText,
    OpenRun,
    OpenSweep,
    Point,
    Record,
    SetTags,
    SetView,
    from_plain,
    to_plain,
)

DATASET = DatasetInfo(
    name="d", digest="ab", source="s", shape=(3, 8, 8), n_train=3, n_val=2, n_test=1
)
RECORDS: list[Record] = [
    OpenSweep(run="unsent-sweep:s", study="s", params={"a": "1"}, tags={"b": "2"}, start_ms=4),
    SetView(run="unsent-1", key="s", state="{}"),
    OpenRun(run="unsent-1", name="é", parent=None, tags={}, start_ms=5, unique="kdsweep.key"),
    LogParams(run="r", params={"a": "x\ny"}),
    LogDataset(run="r", dataset=DATASET),
    LogPoints(run="r", points=(Point("loss", 0.1, 1, 2), Point("loss", math.inf, 3, 4))),
    SetTags(run="r", tags={"a": "b"}),
    LogText(run="r", text="seed: 0\n", file="c.yaml"),
    LogFile(run="r", path="/a/b", folder=None),
    CloseRun(run="r", status="pruned", reason="bad", end_ms=7),
    CloseSweep(
        run="s", status="finished", reason=None, end_ms=8, study="s", owner="o", owner_key="k"
    ),
]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path, store="a store", experiment="kdsweep")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_the_disk(record: Record, outbox: Outbox) -> None:
    assert from_plain(to_plain(record)) == record
    journal = outbox.create()
    journal.append([(3, record)])
    assert journal.waiting() == [(3, record)]
    journal.remove()


def test_everything_goes_down_to_the_disk(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = outbox.create()
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    journal.append([(0, RECORDS[0])])
    journal.delivered([0])
    (tmp_path / "weights.bin").write_bytes(b"1")
    journal.keep_file(tmp_path / "weights.bin")
    assert synced == [journal.path.name, journal.path.name, "weights.bin"]


def test_a_disk_that_fills_up_leaves_whole_lines(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = outbox.create()
    journal.append([(0, RECORDS[0])])
    before = journal.path.read_bytes()

    def fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            journal.append([(1, RECORDS[1])])
    assert journal.path.read_bytes() == before
    journal.append([(1, RECORDS[1])])
    assert [number for number, _ in journal.waiting()] == [0, 1]


def test_what_is_delivered_waits_no_more(outbox: Outbox) -> None:
    journal = outbox.create()
    journal.append(enumerate(RECORDS))
    journal.delivered([0, 2])
    journal.close()
    (left,) = outbox.left()
    assert [number for number, _ in left.waiting()] == [1, *range(3, len(RECORDS))]
    left.remove()
    assert list(outbox.folder.iterdir()) == []


def test_a_journal_belongs_to_its_owner_until_that_closes_it(outbox: Outbox) -> None:
    journal = outbox.create()
    assert list(outbox.left()) == []
    journal.close()
    (left,) = outbox.left()
    assert list(outbox.left()) == [], "only one process delivers it"
    left.close()


def test_records_for_another_store_stay_where_they_are(outbox: Outbox, tmp_path: Path) -> None:
    outbox.create().close()
    assert list(Outbox(tmp_path, store="another", experiment="kdsweep").left()) == []
    assert list(Outbox(tmp_path, store="a store", experiment="another").left()) == []
    assert len(list(outbox.left())) == 1


def test_a_line_that_was_cut_short_costs_no_other(outbox: Outbox) -> None:
    journal = outbox.create()
    journal.append(enumerate(RECORDS[:3]))
    journal.close()
    text = journal.path.read_text()
    journal.path.write_text(text[:-9])
    (left,) = outbox.left()
    assert [number for number, _ in left.waiting()] == [0, 1]
    left.delivered([0])
    assert [number for number, _ in left.waiting()] == [1]
    left.close()
