"""A study as optuna-dashboard shows it, asked over its own web interface."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

from kdsweep.results.cells import cells_of
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.record import Record
from kdsweep.results.summary import summarise
from kdsweep.sweeper.dashboard import PART, POINTS, annotate, curve
from kdsweep.sweeper.lease import Lease
from kdsweep.sweeper.opening import open_storage, open_study
from kdsweep.sweeper.study import SweepStudy, Unit
from tests.results.made import record


def ask(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """The address of optuna-dashboard over a database, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    server = subprocess.Popen(
        [program, storage, "--port", str(port), "--server", "wsgiref"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                ask(f"{address}/api/studies")
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def trained(trial: int, scores: list[float], epochs: int) -> Record:
    made = record(trial, scores, [70.0, 70.3, 70.1, 70.2])
    seeds = {
        seed: dataclasses.replace(
            one, history=tuple({"val_accuracy": score - epochs + e} for e in range(1, epochs + 1))
        )
        for (seed, one), score in zip(made.seeds.items(), scores, strict=True)
    }
    return dataclasses.replace(made, seeds=seeds)


def test_the_dashboard_shows_verdicts_and_curves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    storage = open_storage(url)
    opened = open_study(name="map", storage=storage, directions=["maximize"])
    key = "distill.temperature"
    axes = {key: optuna.distributions.CategoricalDistribution((0, 1))}
    study = SweepStudy(
        opened, storage, axes, Lease(storage, storage.get_study_id_from_name("map"))
    )
    records = [trained(0, [80.0, 80.4, 80.2], 3), trained(1, [70.0, 70.4, 70.3], 3)]
    for made in records:
        study.finish(study.start(Unit.of({key: made.trial}, 1)), made)
    cells = cells_of(records)
    sweep, _ = judge_sweep(summarise("map", cells), cells, tmp_path, adaptive=False)
    for _ in range(2):  # the second time changes nothing
        annotate(opened, sweep, cells, page=lambda run: f"http://mlflow/{run}")
    with dashboard(url) as address:
        (shown,) = ask(f"{address}/api/studies")["study_summaries"]
        assert shown["study_name"] == "map"
        detail = ask(f"{address}/api/studies/{shown['study_id']}?after=0")
    assert detail["objective_names"] == ["val_accuracy"]
    assert detail["note"]["version"] == 1
    assert detail["note"]["body"].startswith("**Distillation helps in 1 of 2 cells")
    assert "| cell | delta | verdict | n |" in detail["note"]["body"]
    better, other = detail["trials"]
    assert "temperature=0: **better**, +10" in better["note"]["body"]
    assert "temperature=1: **open**" in other["note"]["body"]
    assert [p["name"] for p in better["params"]] == [key]
    points = {p["step"]: p["value"] for p in better["intermediate_values"]}
    assert points == pytest.approx({1: 78.2, 2: 79.2, 3: 80.2})


def test_a_long_note_is_kept_as_the_dashboard_keeps_it(tmp_path: Path) -> None:
    from optuna_dashboard import get_note

    opened = optuna.create_study(storage=f"sqlite:///{tmp_path}/optuna.db")
    points = [(t, a) for t in range(1, 9) for a in range(1, 9)]
    records = [
        record(i, [80.0 + t, 80.4 + t], point={"distill.temperature": t, "distill.alpha": a})
        for i, (t, a) in enumerate(points)
    ]
    cells = cells_of(records)
    sweep, _ = judge_sweep(summarise("s", cells), cells, tmp_path, adaptive=False)
    annotate(opened, sweep, cells)
    note = get_note(opened)
    assert len(note) > PART
    assert note.startswith("**Distillation ")
    assert note.endswith("64 of 64 trials are complete.")
    shorter = cells[:1]
    sweep, _ = judge_sweep(summarise("s", shorter), shorter, tmp_path, adaptive=False)
    annotate(opened, sweep, shorter)
    assert get_note(opened).endswith("1 of 1 trials are complete.")
    assert "64 of 64" not in get_note(opened)


def test_a_long_curve_has_few_points_and_the_last(tmp_path: Path) -> None:
    points = curve(trained(0, [80.0, 82.0], 240))
    assert len(points) <= POINTS + 1
    assert points[240] == 81.0
    assert curve(dataclasses.replace(records_without_curve(), objectives=("size_mib",))) == {}


def records_without_curve() -> Record:
    return record(0, [80.0])
