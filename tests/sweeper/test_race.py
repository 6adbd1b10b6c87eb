"""A race as the sweep runs it: rounds, seeds, who goes on, what a study allows later."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kdsweep.errors import TrainingError, UserError
from kdsweep.results.cells import cells_of, point_of, read_records
from kdsweep.results.race import Race
from tests.sweeper.fake import Study, baseline, studying

GRID = ("distill.temperature=1,2,3", "distill.alpha=0.3,0.7", "seeds=3", "study=race")
GAIN = {"1": 6.0, "2": 0.0, "3": 0.0}  # points, by temperature


@pytest.fixture(name="study")
def _study(tmp_path: Path) -> Iterator[Study]:
    with studying(tmp_path) as made:
        yield made


def accuracies(point: dict[str, str]) -> dict[int, float]:
    """A clear gain at T = 1, and a difference that takes long to decide at T = 3."""
    first, seeds = int(point["seed"]), int(point.get("seeds", 3))
    gain = GAIN[point["distill.temperature"]]
    lean = 0.45 if point["distill.temperature"] == "3" else 0.0
    return {s: baseline(s) + gain + lean for s in range(first, first + seeds)}


def rounds_of(points: list[dict[str, str]]) -> Counter[tuple[str, str]]:
    return Counter((p["round"], p["distill.temperature"]) for p in points)


def folder(study: Study, name: str = "race") -> Path:
    return study.folder / "hydra" / "studies" / name


def test_decided_cells_stop_and_the_others_get_fresh_seeds(study: Study) -> None:
    points = study.sweep(accuracies, *GRID).points
    trained = rounds_of(points)
    assert [trained["1", t] for t in "123"] == [2, 2, 2]
    assert trained["2", "1"] == 0  # decided
    assert trained["2", "3"] == 2
    for point in points:
        assert int(point["seed"]) == 3 * (int(point["round"]) - 1)
    race = Race.find(folder(study))
    assert race is not None
    for point in points:
        wanted = race.design.baseline_seeds(int(point["round"]))
        assert int(point["verdict.baseline_seeds"]) == wanted


@pytest.mark.parametrize(
    ("given", "warnings"),
    [
        (("schedule=cosine,onecycle", "evaluate.last_epochs=2"), 1),
        (("schedule=constant,onecycle", "evaluate.last_epochs=2"), 1),
        (("schedule=constant", "evaluate.last_epochs=2"), 0),
        (("schedule=cosine", "evaluate.ema=0.9"), 1),
        (("schedule=constant", "evaluate.ema=0.9"), 0),
        (("schedule=cosine",), 0),
    ],
)
def test_an_average_of_what_hardly_differs_is_warned_of_once_before_training(
    study: Study, caplog: pytest.LogCaptureFixture, given: tuple[str, ...], warnings: int
) -> None:
    found: list[int] = []

    def look(point: dict[str, str]) -> dict[int, float]:
        found.append(sum(line.startswith("evaluate.") for line in caplog.messages))
        return accuracies(point)

    study.sweep(look, *GRID, *given, "train.epochs=3")
    assert set(found) == {warnings}


def test_no_seed_is_the_baselines_and_a_cells(study: Study) -> None:
    study.sweep(accuracies, *GRID)
    records = read_records(folder(study))
    theirs = {one.seed for record in records for one in record.baselines}
    assert not theirs & {seed for record in records for seed in record.seeds}


def test_the_race_is_fixed_in_the_study_before_the_first_training(study: Study) -> None:
    seen: list[object] = []

    def look(point: dict[str, str]) -> dict[int, float]:
        seen.append(study.load("race").user_attrs["kdsweep:race"])
        return accuracies(point)

    study.sweep(look, *GRID)
    assert len(set(map(str, seen))) == 1
    assert len(json.loads(str(seen[0]))["design"]["cell_levels"]) == 4


def test_a_race_that_is_stopped_anywhere_comes_to_the_same_verdicts(
    study: Study, tmp_path: Path
) -> None:
    study.sweep(accuracies, *GRID)
    other = Study(tmp_path / "other")
    stops = 0
    while True:
        before = len(read_records(folder(other)))
        other.sweep(accuracies, *GRID, "hydra.sweeper.n_jobs=1", "hydra.sweeper.timeout=0")
        if len(read_records(folder(other))) == before:
            break
        stops += 1
    whole, parts = (cells_of(read_records(folder(one))) for one in (study, other))
    assert stops == sum(len(cell.rounds) for cell in whole)
    race = Race.find(folder(study))
    assert race is not None
    assert race.judge(whole, "val_accuracy") == race.judge(parts, "val_accuracy")


def test_fewer_rounds_can_be_followed_by_the_rest(study: Study) -> None:
    first = study.sweep(accuracies, *GRID).points
    other = Study(study.folder / "other")
    part = other.sweep(accuracies, *GRID, "rounds=4", "hydra.sweeper.timeout=0").points
    assert {p["round"] for p in part} == {"1"}
    rest = other.sweep(accuracies, *GRID).points
    assert rounds_of(part + rest) == rounds_of(first)


def test_fewer_rounds_than_planned_are_told(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    study.sweep(accuracies, *GRID)
    assert "was planned with" not in caplog.text
    study.sweep(accuracies, *GRID, "rounds=1")
    assert "rounds=1: study race was planned with 4; no round after that is begun" in caplog.text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("rounds=5", "rounds=5: study race was planned with 4, before its first training"),
        ("seeds=4", "seeds=4: study race was planned with 3 in each round"),
        ("verdict.margin=5", r"verdict\.margin=5: study race was planned with 0\.5"),
        ("verdict.futility=3", r"verdict\.futility=3: study race was planned with 1"),
        ("verdict.baseline_seeds=9", r"verdict\.baseline_seeds=9: study race was planned with 8"),
    ],
)
def test_a_look_that_was_not_planned_is_refused(study: Study, changed: str, message: str) -> None:
    study.sweep(accuracies, *GRID)
    with pytest.raises(UserError, match=message):
        study.sweep(accuracies, *GRID, changed)
    assert study.load("race").get_trials(states=(TrialState.RUNNING,)) == []


def test_a_race_whose_records_are_gone_is_refused(study: Study) -> None:
    """What is left of a cell is not taken for its first rounds."""
    study.sweep(accuracies, *GRID)
    last = next(r for r in read_records(folder(study)) if r.round == 2)
    (first,) = (
        record.trial
        for record in read_records(folder(study))
        if record.round == 1 and point_of(record.overrides) == point_of(last.overrides)
    )
    shutil.rmtree(folder(study) / str(first))
    with pytest.raises(UserError, match="study=race: the records of 1 of its trials are not in"):
        study.sweep(accuracies, *GRID)


def test_one_round_is_the_plain_map(study: Study) -> None:
    points = study.sweep(accuracies, *GRID, "rounds=1").points
    assert rounds_of(points) == Counter({("1", t): 2 for t in "123"})


def test_one_seed_is_no_race(study: Study) -> None:
    arguments = ("distill.temperature=1,2", "study=one")
    points = study.sweep(accuracies, *arguments, "seeds=1").points
    assert len(points) == 2
    assert {p["verdict.baseline_seeds"] for p in points} == {"1"}
    assert Race.find(folder(study, "one")) is None


def test_a_failed_seed_does_not_take_its_cell_out(study: Study) -> None:
    def one_fails(point: dict[str, str]) -> dict[int, float]:
        found = accuracies(point)
        if point["distill.temperature"] == "2" and point["round"] == "1":
            found[min(found)] = float("nan")
        return found

    with pytest.raises(TrainingError, match="2 trials of study race failed"):
        study.sweep(one_fails, *GRID)
    race = Race.find(folder(study))
    assert race is not None
    outcome = race.judge(cells_of(read_records(folder(study))), "val_accuracy")
    assert outcome.finished
    broken = [cell for cell in outcome.cells if cell.failed]
    assert len(broken) == 2
    assert all(cell.low is not None for cell in broken)


def test_the_best_of_a_sampler_race_with_fresh_seeds(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    arguments = (
        "search=random", "hydra.sweeper.n_trials=6", "seeds=3", "verdict.top=2", "study=drawn",
    )  # fmt: skip

    def value(point: dict[str, str]) -> dict[int, float]:
        first = int(point["seed"])
        gain = 2 * float(point["distill.alpha"])
        return {s: baseline(s) + gain for s in range(first, first + 3)}

    points = study.sweep(value, *arguments).points
    plan = caplog.messages.index(
        "6 trials x 3 seeds find cells by their scores; then the best 2 race with fresh seeds, "
        "for a verdict"
    )
    assert plan < caplog.messages.index("the best 2 of 6 race, with fresh seeds")
    drawn = [p for p in points if p["round"] == "0"]
    raced = [p for p in points if p["round"] == "1"]
    assert len(drawn) == 6
    best = sorted((float(p["distill.alpha"]) for p in drawn), reverse=True)[:2]
    assert [float(p["distill.alpha"]) for p in raced] == best
    assert {p["seed"] for p in drawn} == {"0"}
    assert {p["seed"] for p in raced} == {"3"}
    cells = cells_of(read_records(folder(study, "drawn")))
    fresh = [cell for cell in cells if cell.last.round > 0]
    assert len(fresh) == 2
    assert all(min(cell.rounds[0].seeds) >= 3 for cell in fresh)  # not those it was chosen by
    assert study.sweep(value, *arguments).points == []


def test_a_record_of_an_older_study_is_not_taken_for_a_new_trials(study: Study) -> None:
    old = ("distill.temperature=1,2", "study=s")
    study.sweep(lambda point: 40.0, *old)
    (study.folder / "optuna.db").unlink()

    def interrupted(point: dict[str, str]) -> float:
        raise KeyboardInterrupt

    new = ("distill.temperature=8,9", "study=s")
    with pytest.raises(KeyboardInterrupt):
        study.sweep(interrupted, *new)
    assert len(study.sweep(lambda point: 60.0, *new).points) == 2
    assert {t.value for t in study.load("s").trials if t.state == TrialState.COMPLETE} == {60.0}
