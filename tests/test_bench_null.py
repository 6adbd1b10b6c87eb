from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdsweep.bench import null
from kdsweep.errors import TrainingError, UserError
from kdsweep.results.race import Race
from kdsweep.results.record import write_record
from kdsweep.verdict import RaceDesign
from tests.results import made

TEMPERATURES = (1, 2)
BASELINES = (70.0, 70.4, 69.8, 70.1, 70.2)


def study(folder: Path, *scores: tuple[float, ...]) -> None:
    """What a sweep leaves behind."""
    points = tuple({"distill.temperature": str(t)} for t in TEMPERATURES)
    design = RaceDesign.create(cells=2, seeds=3, axes=(2,))
    folder.mkdir(parents=True)
    Race(design=design, points=points).write(folder)
    for trial, given in enumerate(scores):
        record = made.record(trial, given, BASELINES, point=points[trial])
        (folder / str(trial)).mkdir()
        write_record(folder / str(trial), record)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands given; the second sweep finds a difference, the third ends with an error."""
    given: list[list[str]] = []
    results = {
        "null-0": ((70.1, 69.9, 70.3), (70.0, 70.2, 69.9)),
        "null-1": ((75.1, 74.9, 75.3), (70.0, 70.2, 69.9)),
    }

    def train(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        given.append(command)
        name = next(each for each in command if each.startswith("study=")).removeprefix("study=")
        if name not in results:
            return subprocess.CompletedProcess(command, 2, "", "kdsweep: no room")
        study(tmp_path / "hydra" / "studies" / name, *results[name])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(null.subprocess, "run", train)
    return given


def test_sweeps_that_find_a_difference_are_counted(
    tmp_path: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    null.main(["sweeps=2", f"root={tmp_path}", "train.epochs=6"])
    first, second, counts, correlation, maps = capsys.readouterr().out.splitlines()
    assert first.startswith("null-0: ")
    assert "in error 0 of 2 cells and 1 averages" in first
    assert "1 better" in second
    assert "in error 0 of 2 cells" not in second
    assert counts.startswith("1 of 2 sweeps in error ['null-1']")
    assert "correlation" in correlation
    assert maps.endswith(" % of 20000 in error")


def test_each_sweep_has_seeds_of_its_own(tmp_path: Path, commands: list[list[str]]) -> None:
    null.main(["sweeps=2", f"root={tmp_path}", "train.epochs=6"])
    for number, command in enumerate(commands):
        assert command[:4] == [sys.executable, "-m", "kdsweep", "-m"]
        assert f"seed={1000 * number}" in command
        assert f"verdict.first_baseline_seed={1_000_000 + 1000 * number}" in command
        assert command[-1] == "train.epochs=6"


def test_a_sweep_that_ends_with_an_error_ends_the_bench(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    with pytest.raises(TrainingError, match="kdsweep: no room"):
        null.main(["first=2", f"root={tmp_path}"])


@pytest.mark.parametrize("given", ["sweeps=0", "sweeps=x", "first=-1"])
def test_numbers_out_of_range(given: str) -> None:
    with pytest.raises(UserError, match="allowed is a whole number from"):
        null.main([given])


def test_races_drawn_from_trainings_are_of_cells_that_do_not_differ(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    """At most the 5 % that a verdict allows, though these cells are 5 points apart."""
    null_0, null_1 = (null.run(number, tmp_path, []) for number in (0, 1))
    assert null.resampled([null_1]) < 0.06
    assert null.resampled([null_0, null_1]) > 0.06  # what one sweep has and another not is noise
