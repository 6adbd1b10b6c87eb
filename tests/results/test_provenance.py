from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kdsweep.results.cells import cells_of
from kdsweep.results.provenance import portable, provenance
from kdsweep.results.record import Environment, Record, find_record, write_record
from tests.results.made import record

HERE = Environment(
    device="cpu (2 threads)", kdsweep="1.0", torch="2.0", python="3.12.1", git_revision="abc",
    started="2026-01-02T03:04:05+00:00",
)  # fmt: skip


def swept(trial: int, point: dict[str, object], fixed: tuple[str, ...], **changes: Any) -> Record:
    """A record with what its sweep puts behind a cell's own overrides."""
    own = (f"trial={trial}", "round=1", "seed=0", "verdict.baseline_seeds=6")
    made = record(trial, [70.0, 71.0], point=point)
    overrides = (*made.overrides, *fixed, "study=s", *own)
    return dataclasses.replace(made, overrides=overrides, **changes)


def test_the_command_of_a_grid_and_of_its_best_cell() -> None:
    fixed = ("study=s", "data=digits", "seed=5", "root=/mnt/runs", "data.root=/mnt/my/images")
    records = [
        swept(i, {"distill.temperature": t, "distill.alpha": a}, fixed)
        for i, (t, a) in enumerate([(1, 0.1), (1, 0.9), (2, 0.1), (2, 0.9)])
    ]
    cells = cells_of(records)
    run = provenance(cells, cells[3])
    assert run.command == (
        "python -m kdsweep -m distill.temperature=1,2 distill.alpha=0.1,0.9 study=s data=digits "
        "seed=5 'data.root=…/images'"
    )
    assert run.best == (
        "python -m kdsweep distill.temperature=2 distill.alpha=0.9 data=digits seed=5 "
        "'data.root=…/images'"
    )
    assert ("train.epochs", str(records[0].config["train"]["epochs"])) in run.settings
    assert not [key for key, _ in run.settings if key.startswith(("root", "storage", "tracking"))]


def test_a_sampler_gives_what_its_cells_have_in_common() -> None:
    fixed = ("search=tpe",)
    points = [{"distill.temperature": 1.5}, {"distill.temperature": 2.5}]
    records = [swept(i, point, fixed) for i, point in enumerate(points)]
    records.append(swept(2, {"distill.temperature": 2.5, "train.epochs": 3}, fixed))
    run = provenance(cells_of(records), None)
    assert run.command == "python -m kdsweep -m search=tpe"
    assert run.best == ""


def test_where_and_when_it_ran() -> None:
    later = dataclasses.replace(HERE, device="GPU", started="2026-01-03T00:00:00+00:00")
    records = [
        swept(1, {"distill.temperature": 1}, (), environment=HERE, seconds=1800.0),
        swept(2, {"distill.temperature": 2}, (), environment=later, seconds=1800.0),
        swept(3, {"distill.temperature": 3}, (), environment=None, seconds=0.0),
    ]
    facts = dict(provenance(cells_of(records), None).facts)
    assert facts["started"] == "2026-01-02 03:04:05 UTC to 2026-01-03 00:00:00 UTC"
    assert facts["device"] == "cpu (2 threads), GPU"
    assert facts["versions"] == "kdsweep 1.0, torch 2.0, Python 3.12.1"
    assert facts["git revision"] == "abc"
    assert facts["trainings"] == "6 students, 4 baselines, 0 teachers"
    assert facts["time"].startswith("1 hours")


def test_the_environment_is_kept_with_a_record(tmp_path: Path) -> None:
    for environment in (HERE, None):
        made = swept(1, {"distill.temperature": 1}, (), environment=environment)
        write_record(tmp_path, made)
        found = find_record(tmp_path)
        assert found is not None
        assert found.environment == environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.root=/home/me/images", "data.root=…/images"),
        ("root=~/a/b is full", "root=…/b is full"),
        (r"C:\Users\me\x.png", "…/x.png"),
        ("a/b and ../c stay", "a/b and ../c stay"),
        ("sqlite:///mlruns/optuna.db", "sqlite:///mlruns/optuna.db"),
        ("accuracy / (MiB x ms)", "accuracy / (MiB x ms)"),
    ],
)
def test_of_an_absolute_path_its_last_name_is_left(text: str, expected: str) -> None:
    assert portable(text) == expected
