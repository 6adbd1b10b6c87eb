"""The record of a job: read as it was written, or not at all."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdsweep.errors import UserError
from kdsweep.results.record import (
    RECORD,
    VERSION,
    Bin,
    NetworkRecord,
    Record,
    find_record,
    read_record,
    write_record,
)
from tests.results.made import COSTS, network, record

TEACHER = NetworkRecord(
    key="t", name="resnet56", seed=0, metrics={"val_accuracy": 80.0}, per_class={"0": 81.5},
    costs=COSTS, history=({"epoch": 1.0, "val_accuracy": 60.0},),
    reliability=(Bin(number=3, images=7, confidence=25.5, right=20.0),),
)  # fmt: skip


@pytest.mark.parametrize(
    "made",
    [
        record(0, [70.5, 71.25], teacher=TEACHER, run_id="r", study=None),
        record(7, {3: 70.0, 4: math.nan}, (70.0, math.nan), round_=2),
        record(7, [70.0], state="pruned", reason="below the median", values=()),
        record(0, [70.0], objectives=("val_accuracy", "size_mib"), values=(70.0, 0.5)),
    ],
    ids=["single", "failed", "pruned", "two objectives"],
)
def test_a_record_is_read_as_it_was_written(tmp_path: Path, made: Record) -> None:
    write_record(tmp_path, made)
    again = find_record(tmp_path)
    assert again is not None
    # NaN differs from itself; as text it does not.
    assert json.dumps(again.to_json()) == json.dumps(made.to_json())
    assert json.dumps(read_record(tmp_path).to_json()) == json.dumps(made.to_json())
    assert list(again.seeds) == list(made.seeds)
    assert all(isinstance(seed, int) for seed in again.seeds)
    assert isinstance(again.baselines[0], NetworkRecord)
    assert isinstance(again.values, tuple)
    assert isinstance(again.seeds[min(again.seeds)].history, tuple)


def test_reliability_is_read_as_it_was_written_and_may_be_missing(tmp_path: Path) -> None:
    made = record(0, [70.0], teacher=TEACHER)
    write_record(tmp_path, made)
    again = read_record(tmp_path)
    assert again.teacher == TEACHER
    plain = json.loads((tmp_path / RECORD).read_text())
    for one in (plain["teacher"], plain["seeds"]["0"]):
        del one["reliability"]
    (tmp_path / RECORD).write_text(json.dumps(plain))
    older = read_record(tmp_path)
    assert older.teacher == dataclasses.replace(TEACHER, reliability=())


def test_a_file_that_is_not_there_is_none_and_is_told(tmp_path: Path) -> None:
    assert find_record(tmp_path) is None
    with pytest.raises(UserError, match=rf"^{tmp_path}/{RECORD}: is gone; root= names"):
        read_record(tmp_path)


def without(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda plain: json.dumps({k: v for k, v in plain.items() if k != key})


def with_(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda plain: json.dumps({**plain, **changes})


DAMAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "empty": lambda plain: "",
    "cut short": lambda plain: json.dumps(plain)[:200],
    "no mapping": lambda plain: "[1, 2]",
    "a number": lambda plain: "3",
    "of another version": with_(version=VERSION - 1),
    "of no version": without("version"),
    "without a field": without("seeds"),
    "without a plain field": without("split"),
    "with a field too many": with_(colour="red"),
    "with seeds of another kind": with_(seeds={"0": 3}),
    "with a seed that is no number": with_(seeds={"x": {}}),
    "with baselines of another kind": with_(baselines=[{"key": "b"}]),
    "without objectives": with_(objectives=None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_counts_as_none_and_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / RECORD
    path.write_text(DAMAGES[damage](record(0, [70.0]).to_json()))
    with caplog.at_level(logging.WARNING):
        assert find_record(tmp_path) is None
    assert f"{path} can't be read and counts as none" in caplog.text
    with pytest.raises(UserError) as caught:
        read_record(tmp_path)
    assert str(caught.value).startswith(f"{path}: is damaged (")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_count_as_none(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_bytes(b"\x80\x00\xff" * 100)
    assert find_record(tmp_path) is None
    with pytest.raises(UserError, match="is damaged"):
        read_record(tmp_path)


def test_it_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, record(0, [70.0]))
    broken = dataclasses.replace(record(0, [71.0]), config={"root": object()})
    with pytest.raises(TypeError):
        write_record(tmp_path, broken)
    kept = read_record(tmp_path)
    assert kept.values == (70.0,)
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]


def test_what_settles_a_job() -> None:
    assert record(0, [70.0]).settled
    assert record(0, [70.0], state="pruned").settled
    assert not record(0, [math.nan]).settled


def test_a_metric_of_each_seed_in_their_order() -> None:
    made = record(0, {5: 72.0, 3: 70.0, 4: math.nan})
    assert made.metrics("val_accuracy") == [70.0, None, 72.0]
    assert made.metrics("colour") == [None, None, None]


@pytest.mark.parametrize(("split", "prefix"), [("validation", "val"), ("test", "test")])
def test_the_prefix_of_its_metrics(split: str, prefix: str) -> None:
    assert record(0, [70.0], split=split).prefix == prefix


def test_a_baseline_that_failed_has_no_metrics() -> None:
    assert network(1_000_000, math.nan).metrics == {}
