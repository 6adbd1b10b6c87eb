from __future__ import annotations

import itertools
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from kdsweep.errors import Stopped, TrainingError, UserError
from kdsweep.export.study import best_config
from kdsweep.results.cells import read_records
from kdsweep.sweeper import cells
from kdsweep.sweeper import study as studies
from tests.sweeper.fake import Study, studying

GRID = ("distill.temperature=1,2,3", "distill.alpha=0.3,0.7")
INTERVAL = ("distill.temperature=interval(1.0,5.0)", "distill.alpha=interval(0.1,0.9)")
RANDOM = ("search=random", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")


@pytest.fixture(name="study")
def _study(tmp_path: Path) -> Iterator[Study]:
    with studying(tmp_path) as made:
        yield made


def score(point: dict[str, str]) -> float:
    return 10 * float(point["distill.temperature"]) + float(point["distill.alpha"])


def fail(point: dict[str, str]) -> float:
    raise TrainingError("diverged")


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_a_grid_is_trained_once_in_order_and_numbered_as_its_jobs(study: Study) -> None:
    launcher = study.sweep(score, *GRID)
    assert [(p["distill.temperature"], p["distill.alpha"]) for p in launcher.points] == list(
        itertools.product("123", ("0.3", "0.7"))
    )
    assert [point["trial"] for point in launcher.points] == [str(i) for i in range(6)]
    assert [trial.value for trial in study.trials] == [score(p) for p in launcher.points]
    assert study.load().best_params == {"distill.temperature": 3, "distill.alpha": 0.7}


def test_the_same_command_continues_and_a_changed_one_starts_another(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    study.sweep(score, *GRID)
    with caplog.at_level(logging.INFO):
        assert study.sweep(fail, *GRID).points == []
    assert "all 6 trials are finished" in caplog.text
    assert len(study.sweep(score, *GRID, "train.epochs=3").points) == 6
    assert len(study.sweep(score, "distill.temperature=1,2", "distill.alpha=0.3").points) == 2
    assert len(optuna.get_all_study_names(study.storage)) == 3


def test_a_study_of_another_configuration_is_refused_by_key(study: Study) -> None:
    study.sweep(score, *GRID, "study=mine")
    with pytest.raises(UserError, match=r"study=mine: .*train\.epochs was 2, is 3"):
        study.sweep(score, *GRID, "study=mine", "train.epochs=3")


def test_the_official_sweepers_study_name_counts(study: Study) -> None:
    study.sweep(score, *GRID, "hydra.sweeper.study_name=theirs")
    assert optuna.get_all_study_names(study.storage) == ["theirs"]


def test_a_failed_trial_is_kept_with_its_reason_and_the_sweep_goes_on(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        return fail(point) if point["distill.temperature"] == "2" else score(point)

    with pytest.raises(TrainingError, match=r"2 trials of study .* failed; the first: diverged"):
        study.sweep(train, *GRID)
    assert states(study) == ["COMPLETE"] * 2 + ["FAIL"] * 2 + ["COMPLETE"] * 2
    assert study.trials[2].user_attrs[studies.REASON] == "diverged"
    assert study.sweep(score, *GRID).points == []  # it would only diverge again


def test_an_unforeseen_failure_is_tried_again_by_the_next_session(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        if point["distill.temperature"] == "2":
            raise RuntimeError("out of memory")
        return score(point)

    with pytest.raises(TrainingError, match="out of memory"):
        study.sweep(train, *GRID)
    assert states(study).count("FAIL") == 2
    assert len(study.sweep(score, *GRID).points) == 2
    assert states(study).count("COMPLETE") == 6


def test_a_sampler_whose_trials_all_fail_comes_to_an_end(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        raise RuntimeError("out of memory")

    with pytest.raises(TrainingError, match=r"every trial failed; the last: .*out of memory"):
        study.sweep(train, *INTERVAL, *RANDOM)
    assert len(study.trials) == 4


def test_a_sweep_that_failed_altogether_says_why(study: Study) -> None:
    with pytest.raises(TrainingError, match="every trial failed; the last: diverged"):
        study.sweep(fail, *GRID)


@pytest.mark.parametrize(
    ("option", "trained"), [("max_failures=1", 2), ("max_failure_rate=0.4", 2)]
)
def test_too_many_failures_end_the_sweep(study: Study, option: str, trained: int) -> None:
    with pytest.raises(TrainingError, match=option):
        study.sweep(fail, *GRID, "hydra.sweeper.n_jobs=2", f"hydra.sweeper.{option}")
    assert states(study).count("FAIL") == trained


def test_the_published_point_goes_first_and_only_once(study: Study) -> None:
    point = "{distill.temperature: 3, distill.alpha: 0.7}"
    launcher = study.sweep(score, *GRID, f"hydra.sweeper.enqueue=[{point}]")
    assert (launcher.points[0]["distill.temperature"], launcher.points[0]["distill.alpha"]) == (
        "3",
        "0.7",
    )
    assert len(launcher.points) == 6
    first = study.sweep(score, *INTERVAL, *RANDOM, f"hydra.sweeper.enqueue=[{point}]").points
    assert float(first[0]["distill.temperature"]) == 3.0
    assert len(first) == 4


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            "{distill.temperature: 4, distill.alpha: 0.7}",
            r"enqueue: distill\.temperature=4 is not",
        ),
        ("{distill.temperature: 3}", r"enqueue: distill\.alpha is in the point or in"),
    ],
)
def test_a_point_outside_of_the_space_is_refused(study: Study, point: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        study.sweep(score, *GRID, f"hydra.sweeper.enqueue=[{point}]")


def test_the_timeout_starts_no_new_batch_and_the_rest_can_follow(study: Study) -> None:
    study.sweep(score, *GRID, "hydra.sweeper.n_jobs=2", "hydra.sweeper.timeout=0")
    assert states(study).count("COMPLETE") == 2
    assert len(study.sweep(score, *GRID).points) == 4


def test_an_interval_needs_a_sampler(study: Study) -> None:
    with pytest.raises(UserError, match=r"an interval has no exact grid; .*search=tpe") as caught:
        study.sweep(score, *INTERVAL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("search", ["random", "tpe", "qmc", "nsga2"])
def test_a_seeded_sampler_does_not_repeat_itself(study: Study, search: str) -> None:
    numbers = ("hydra.sweeper.n_jobs=2",)
    timeout = "hydra.sweeper.timeout=0"
    arguments = (*INTERVAL, f"search={search}", "hydra.sweeper.n_trials=6", *numbers)
    points = [p for _ in range(3) for p in study.sweep(score, *arguments, timeout).points]
    drawn = {(p["distill.temperature"], p["distill.alpha"]) for p in points}
    assert len(points) == len(drawn) == 6


def test_seeded_draws_are_the_same_however_often_the_sweep_stops(
    tmp_path: Path, study: Study
) -> None:
    arguments = (*INTERVAL, *RANDOM)
    parts = [
        p for _ in (1, 2) for p in study.sweep(score, *arguments, "hydra.sweeper.timeout=0").points
    ]
    other = Study(tmp_path / "other")
    whole = other.sweep(score, *arguments).points
    assert [p["distill.temperature"] for p in parts] == [p["distill.temperature"] for p in whole]


def test_several_objectives_have_a_direction_each(study: Study) -> None:
    study.sweep(lambda p: [score(p), -score(p)], *GRID, "objective=[accuracy,latency_ms]")
    assert [d.name for d in study.load().directions] == ["MAXIMIZE", "MINIMIZE"]
    with pytest.raises(UserError, match="one for each objective"):
        study.sweep(score, *GRID, "hydra.sweeper.direction=[maximize,minimize]")


def test_an_interruption_gives_the_cells_back(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        if point["distill.temperature"] == "2":
            raise KeyboardInterrupt
        return score(point)

    with pytest.raises(KeyboardInterrupt):
        study.sweep(train, *GRID, "hydra.sweeper.n_jobs=2")
    assert states(study) == ["COMPLETE"] * 2 + ["FAIL"] * 2
    assert len(study.sweep(score, *GRID).points) == 4
    cells = [t.params for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(cells) == len({str(cell) for cell in cells}) == 6


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stopped(signal.SIGTERM)])
def test_what_a_sampler_had_drawn_waits_for_the_next_session(
    study: Study, stop: BaseException
) -> None:
    def interrupted(point: dict[str, str]) -> float:
        seen.append(point)
        if len(seen) == 3:
            raise stop
        return score(point)

    seen: list[dict[str, str]] = []
    with pytest.raises(KeyboardInterrupt):
        study.sweep(interrupted, *INTERVAL, *RANDOM)
    assert states(study) == ["COMPLETE"] * 2 + ["FAIL"] * 2 + ["WAITING"] * 2
    reason = str(stop) or "interrupted"
    assert {trial.user_attrs.get(studies.REASON) for trial in study.trials[2:4]} == {reason}
    again = study.sweep(score, *INTERVAL, *RANDOM).points
    assert len(again) == 2
    assert again[0]["distill.temperature"] == seen[2]["distill.temperature"]
    assert states(study).count("COMPLETE") == 4
    points = [str(t.params) for t in study.trials if t.state == TrialState.FAIL]
    assert points == [str(t.params) for t in study.trials[4:]]


def test_a_process_that_comes_too_late_has_not_failed(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        study.sweep(fail, *GRID)  # another process, while all trials run in this one
        return score(point)

    study.sweep(train, *GRID, "hydra.sweeper.n_jobs=6")
    assert states(study) == ["COMPLETE"] * 6


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_a_finished_trial_without_its_record_is_trained_again_once(
    study: Study, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Else its cell would be in no table, and no command would bring it back."""
    arguments = ("distill.temperature=1,2", "study=s")
    study.sweep(lambda point: 40.0, *arguments)
    file = study.folder / "hydra/studies/s/0/result.json"
    if harm == "removed":
        file.unlink()
    else:
        file.write_text("{")
    (again,) = study.sweep(lambda point: 40.0, *arguments).points
    assert (again["distill.temperature"], again["trial"]) == ("1", "2")
    assert "trial 0: its record is gone; its cell is trained again" in caplog.messages
    records = read_records(study.folder / "hydra/studies/s")
    assert [record.trial for record in records] == [1, 2]
    caplog.clear()
    assert study.sweep(lambda point: 40.0, *arguments).points == []
    assert not any("is gone" in line for line in caplog.messages)
    best = best_config(study.load("s"), study.folder)
    assert best is not None
    assert best.startswith("# Trial 2 of study s")  # trial 0 is as good, and has no record


def test_a_database_that_is_removed_in_mid_sweep_is_named(study: Study) -> None:
    file = Path(study.storage.removeprefix("sqlite:///"))

    def train(point: dict[str, str]) -> float:
        file.unlink(missing_ok=True)
        return score(point)

    with pytest.raises(UserError, match=f"^storage={study.storage}: {file} is gone; put a copy"):
        study.sweep(train, *GRID)


def test_a_custom_search_space_is_refused_with_a_way_out(study: Study) -> None:
    with pytest.raises(UserError, match="hydra/sweeper=optuna"):
        study.sweep(score, *GRID, "hydra.sweeper.custom_search_space=a.b")


@pytest.mark.parametrize("subdir", ["same", "${trial}-${seed}", "x${trial}"])
def test_trials_that_would_share_a_folder_are_refused(study: Study, subdir: str) -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweep\.subdir=.*: allowed is to leave it out"):
        study.sweep(fail, *GRID, f"hydra.sweep.subdir='{subdir}'")
    assert list(study.folder.glob("*.db")) == []


def test_studies_that_would_share_a_folder_are_refused(study: Study) -> None:
    folder = f"hydra.sweep.dir={study.folder}/hydra/studies/a"
    study.sweep(score, *GRID, "study=a", folder)
    study.sweep(fail, *GRID, "study=a", folder)  # finished
    with pytest.raises(UserError, match=r"^hydra\.sweep\.dir=.*/a: holds study a, and"):
        study.sweep(fail, *GRID, "study=b", folder)
    assert optuna.get_all_study_names(study.storage) == ["a"]


REFUSED = {
    "storage=nonsense": "storage=nonsense",
    "storage=postgresql+psycopg2://u@127.0.0.1:1/d": "storage=",
    "tracking=server tracking.uri=http://127.0.0.1:1": "tracking.uri=",
    "search=random hydra.sweeper.enqueue=[{distill.temperature:9}]": "hydra.sweeper.enqueue",
    "hydra.sweeper.direction=[minimize,minimize]": "hydra.sweeper.direction",
    "train.epochs=0": "train.epochs",
    "hydra.sweep.subdir=same": "hydra.sweep.subdir",
}


@pytest.mark.parametrize("asked", REFUSED)
def test_a_refusal_leaves_nothing_behind(study: Study, asked: str) -> None:
    with pytest.raises(UserError, match=f"^{REFUSED[asked]}"):
        study.sweep(fail, *GRID, *asked.split())
    left = [path for path in study.folder.iterdir() if path.name != "store"]  # prepared images
    assert left == []


def test_many_cells_say_how_far_their_checks_are(
    study: Study, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "MANY", 5)
    monkeypatch.setattr(cells, "SOME", 2)
    with caplog.at_level(logging.INFO, logger="kdsweep.sweeper.cells"):
        study.sweep(score, *GRID)
    lines = [one.getMessage() for one in caplog.records if one.name == "kdsweep.sweeper.cells"]
    assert lines == ["checking 6 cells", "checked 2 of 6 cells", "checked 4 of 6 cells"]
