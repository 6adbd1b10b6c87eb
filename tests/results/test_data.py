from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kdsweep.results.data import Cell, best_cell, difference, rows, summarise
from kdsweep.results.facts import costs, notes, protocol
from tests.report.sweeps import judged, temperatures


def test_summary_by_hand() -> None:
    got = summarise({0: 71.0, 1: 73.0, 2: math.nan})
    assert (got.mean, got.n, got.of, got.count) == (72.0, 2, 3, "2/3")
    assert got.sd == pytest.approx(math.sqrt(2))
    one = summarise({5: 3.0})
    assert (one.mean, one.n, one.count) == (3.0, 1, "1")
    assert math.isnan(one.sd)
    none = summarise({})
    assert math.isnan(none.mean)
    assert none.count == "0"


def test_differences_are_of_means_or_the_verdicts_own() -> None:
    sweep = temperatures()
    assert [difference(sweep, cell) for cell in sweep.cells] == [0.0, 1.0, 2.25, None]
    assert sweep.teacher is not None
    assert difference(sweep, sweep.teacher) == pytest.approx(11.13)
    assert difference(judged(), judged().cells[0]) == -0.5
    alone = replace(sweep, baseline=None)
    assert difference(alone, alone.cells[0]) is None


def test_best_is_complete_and_follows_the_direction() -> None:
    sweep = temperatures()
    best = best_cell(sweep)
    assert best is not None
    assert best.label == "T=2"  # T=3 has a higher mean and failed
    worst = best_cell(replace(sweep, maximize=False))
    assert worst is not None
    assert worst.label == "T=1"
    assert best_cell(replace(sweep, cells=sweep.cells[2:])) is None


def test_rows_keep_the_order_of_the_sweep() -> None:
    got = [(row.role, row.label, row.state) for row in rows(temperatures())]
    assert got == [
        ("teacher", "teacher", "complete"),
        ("baseline", "baseline student", "complete"),
        ("distilled", "T=1", "complete"),
        ("best", "T=2", "complete"),
        ("distilled", "T=3", "failed"),
        ("distilled", "T=4", "pruned"),
    ]


def test_notes_say_what_applies() -> None:
    def told(sweep_notes: list[str]) -> list[bool]:
        text = " ".join(sweep_notes)
        signs = ("fresh seeds", "on test", "One teacher", "need not equal")
        return [sign in text for sign in signs]

    sweep = temperatures()
    assert told(notes(sweep)) == [True, False, True, False]
    assert told(notes(replace(sweep, split="test"))) == [True, True, True, False]
    assert told(notes(judged())) == [True, False, True, True]
    assert told(notes(replace(sweep, teacher=None, cells=sweep.cells[:1]))) == [False] * 4


def test_protocol_counts_states_and_seeds() -> None:
    sweep = temperatures()
    far = Cell(label="T=9", values={}, accuracy_by_seed={7: 1.0})
    assert protocol(replace(sweep, cells=(*sweep.cells, far))) == [
        ("dataset", "digits"),
        ("objective", "val_accuracy in %, on the validation split"),
        ("cells", "5 (3 complete, 1 failed, 1 pruned)"),
        ("seeds", "0-1, 7"),
        ("baseline seeds", "3 (0-2)"),
        ("teacher seeds", "1 (0)"),
    ]


def test_costs_name_what_is_known() -> None:
    sweep = temperatures()
    wide = Cell(label="width=2", values={}, accuracy_by_seed={}, parameters=400_000, size_mib=1.5)
    assert costs(replace(sweep, cells=(*sweep.cells, wide))) == [
        (
            "teacher teacher",
            ["4,664,970 parameters", "17.81 MiB", "111.29 ms a batch (batch of 128, 1 thread)"],
        ),
        (
            "baseline baseline student",
            [
                "106,826 parameters",
                "0.41 MiB",
                "27.76 ms a batch (batch of 128, 1 thread)",
                "efficiency 6.39",
                "43.7 times fewer parameters than the teacher",
            ],
        ),
        ("width=2", ["400,000 parameters", "1.50 MiB"]),
    ]


def test_units_and_decimals() -> None:
    sweep = temperatures()
    assert (sweep.difference_unit, sweep.decimals) == ("points", 2)
    nll = replace(sweep, objective="val_nll", unit="nats")
    assert (nll.difference_unit, nll.decimals) == ("nats", 4)
