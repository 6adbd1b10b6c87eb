"""The trials of a study: what is lost, taken up again, adopted, given up, or left alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from kdsweep.errors import TrainingError, UserError
from kdsweep.results.record import Record, find_record, write_record
from kdsweep.sweeper import lease as leases
from kdsweep.sweeper import loop
from kdsweep.sweeper import study as studies
from kdsweep.sweeper.lease import Lease
from kdsweep.sweeper.opening import open_storage, open_study
from kdsweep.sweeper.study import SweepStudy, Unit, unit_of
from kdsweep.tracking.owner import this_process
from tests.results.made import record
from tests.sweeper.fake import Study, studying

CELLS = "distill.temperature=1,2"
DEAD = dataclasses.replace(this_process(), start="0")
SPACE = {"a": FloatDistribution(0, 10), "b": FloatDistribution(0, 1)}


@pytest.fixture(name="study")
def _study(tmp_path: Path) -> Iterator[Study]:
    with studying(tmp_path) as made:
        yield made


def score(point: dict[str, str]) -> float:
    return float(point["distill.temperature"])


class Killed(BaseException):
    """Ends a process as SIGKILL does: nothing is told."""


def die(study: Study, *more: str, left: Record | None = None) -> None:
    """Leave the first trial RUNNING, owned by a process that is dead."""

    def train(point: dict[str, str]) -> float:
        if left is not None:
            keep(study, int(point["trial"]), left)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "this_process", lambda: DEAD)
        with pytest.raises(Killed):
            study.sweep(train, CELLS, "study=s", "hydra.sweeper.n_jobs=1", *more)
    assert states(study) == ["RUNNING"]


def keep(study: Study, number: int, made: Record) -> Path:
    """Write a job's record where its sweep looks for it; its folder."""
    folder = study.folder / "hydra" / "studies" / "s" / str(number)
    write_record(folder, dataclasses.replace(made, trial=number))
    return folder


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_a_lost_trial_is_trained_again(study: Study) -> None:
    die(study)
    assert len(study.sweep(score, CELLS, "study=s").points) == 2
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[0].user_attrs[studies.REASON] == "its process died"
    assert study.trials[1].params == {"distill.temperature": 1}


@pytest.mark.parametrize("state", ["complete", "pruned"])
def test_a_lost_trial_with_a_record_is_adopted(study: Study, state: str) -> None:
    die(study, left=record(0, [7.0], state=state, reason="why"))
    assert len(study.sweep(score, CELLS, "study=s").points) == 1
    assert study.trials[0].state.name == state.upper()
    assert study.trials[0].values == ([7.0] if state == "complete" else None)


def test_a_lost_trial_with_a_garbled_record_is_trained_again(study: Study) -> None:
    die(study, left=record(0, [7.0]))
    path = keep(study, 0, record(0, [7.0])) / "result.json"
    path.write_text(path.read_text()[:100])
    assert len(study.sweep(score, CELLS, "study=s").points) == 2
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_what_a_batch_had_finished_is_told_when_it_is_interrupted(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        if point["distill.temperature"] == "2":
            raise KeyboardInterrupt
        return 7.0

    with pytest.raises(KeyboardInterrupt):
        study.sweep(train, CELLS, "study=s", "hydra.sweeper.n_jobs=2")
    assert states(study) == ["COMPLETE", "FAIL"]
    assert study.trials[0].values == [7.0]
    assert len(study.sweep(score, CELLS, "study=s").points) == 1


def test_a_finished_record_outlives_a_failure_beside_it(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        keep(study, int(point["trial"]), record(0, [7.0]))
        raise RuntimeError("of another population")

    study.sweep(train, CELLS, "study=s")
    assert states(study) == ["COMPLETE"] * 2
    assert study.trials[0].values == [7.0]


def test_a_study_is_not_widened(study: Study) -> None:
    study.sweep(score, CELLS, "study=s")
    with pytest.raises(
        UserError, match=r"^study=s: .* other choices for distill.temperature \(1,2\); a study"
    ):
        study.sweep(score, "distill.temperature=1,2,3", "study=s")
    assert study.sweep(score, CELLS, "study=s").points == []
    assert states(study) == ["COMPLETE"] * 2


def test_a_cell_that_is_lost_too_often_is_given_up(study: Study) -> None:
    limit = "hydra.sweeper.max_retries=0"
    die(study)
    assert len(study.sweep(score, CELLS, "study=s", limit).points) == 1
    assert study.sweep(score, CELLS, "study=s", limit).points == []
    assert states(study) == ["FAIL", "COMPLETE"]
    left = find_record(study.folder / "hydra" / "studies" / "s" / "0")
    assert left is not None  # so that the report and the race know of it
    assert (left.state, left.reason) == ("failed", "its process died again and again")


def test_what_runs_elsewhere_is_left_alone(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        assert study.sweep(score, CELLS, "study=s").points == []
        raise TrainingError("diverged")

    with pytest.raises(TrainingError):
        study.sweep(train, CELLS, "study=s", "hydra.sweeper.n_jobs=2")
    assert len(study.trials) == 2


def elsewhere(study: Study, patch: pytest.MonkeyPatch, lease: type[Lease]) -> None:
    """Leave the first trial RUNNING, owned by a process that can't be seen from here."""
    owner = dataclasses.replace(this_process(), space="pid:[1]")
    with pytest.MonkeyPatch.context() as other:
        other.setattr(leases, "this_process", lambda: owner)
        with pytest.raises(Killed):
            study.sweep(killed, CELLS, "study=s", "hydra.sweeper.n_jobs=1")
    patch.setattr(loop, "Lease", functools.partial(lease, renewed=0.001, expired=1000.0))


def killed(point: dict[str, str]) -> float:
    raise Killed


def test_a_session_waits_until_a_silent_process_is_lost(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been killed just before: nobody else would train what it leaves."""

    class Passing(Lease):
        looks = 0

        def silent_for(self, owner: str) -> float:
            Passing.looks += 1
            return 100.0 * Passing.looks

    elsewhere(study, monkeypatch, Passing)
    points = study.sweep(score, CELLS, "study=s").points
    assert [point["distill.temperature"] for point in points] == ["2", "1"]
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_session_leaves_its_trial_to_a_process_that_gives_signs_of_life(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Living(Lease):
        signs = 0.0

        def _last_sign(self, owner: str) -> float | None:
            Living.signs += 1
            return self.clock() + Living.signs

    elsewhere(study, monkeypatch, Living)
    points = study.sweep(score, CELLS, "study=s").points
    assert [point["distill.temperature"] for point in points] == ["2"]
    assert states(study) == ["RUNNING", "COMPLETE"]


@pytest.fixture(name="opened")
def _opened(tmp_path: Path) -> SweepStudy:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    made = open_study(name="s", storage=storage, directions=["maximize"])
    lease = Lease(storage, storage.get_study_id_from_name("s"))
    return SweepStudy(made, storage, SPACE, lease)


def test_whole_numbers_and_fractions_are_one_value_of_a_cell(opened: SweepStudy) -> None:
    one, same = Unit.of({"a": 1, "b": 1}, 1), Unit.of({"b": 1.0, "a": 1.0}, 1)
    assert one == same
    assert one != Unit.of({"a": 1, "b": 1}, 2)
    opened.start(one)
    assert opened.missing([same, Unit.of({"a": 1, "b": 1}, 2)]) == [Unit.of({"a": 1, "b": 1}, 2)]


def test_a_trial_has_an_owner_from_its_first_moment(
    opened: SweepStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its creation and its owner it would be nobody's, and lost to whoever looks."""

    def killed(trial_id: int) -> int:
        raise Killed

    monkeypatch.setattr(opened.storage, "get_trial_number_from_id", killed)
    with pytest.raises(Killed):
        opened.start(Unit.of({"b": 1, "a": 1}, 3))
    monkeypatch.undo()
    (trial,) = opened.trials()
    assert trial.state == TrialState.RUNNING
    assert trial.user_attrs[studies.OWNER] == str(this_process())
    assert trial.user_attrs[studies.ROUND] == 3
    assert list(trial.params.items()) == [("a", 1), ("b", 1)]  # in the order of the axes
    assert opened.lost() == []


def test_a_trial_without_an_owner_is_lost(opened: SweepStudy) -> None:
    opened.study.ask(SPACE)
    opened.start(Unit.of({"a": 1, "b": 1}, 1))
    assert [trial.number for trial in opened.lost()] == [0]


def random(number: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=number)


def test_points_that_wait_are_drawn_first_and_queued_once(opened: SweepStudy) -> None:
    points = [{"a": 3.5, "b": 0.25}, {"a": 1.0, "b": 1.0}]
    opened.enqueue(points, 0)
    opened.enqueue(points, 0)
    claims = [opened.ask(random, 0) for _ in range(3)]
    assert [claim.point for claim in claims[:2]] == points
    assert claims[2].point not in points
    opened.enqueue(points, 0)  # they run
    assert [t.state for t in opened.trials()] == [TrialState.RUNNING] * 3
    assert {t.user_attrs[studies.OWNER] for t in opened.trials()} == {str(this_process())}


def test_a_point_that_was_queued_with_optuna_is_taken_as_it_is(opened: SweepStudy) -> None:
    opened.study.enqueue_trial({"a": 3.5, "b": 0.25})
    (waiting,) = opened.trials()
    assert unit_of(waiting) == Unit.of({"a": 3.5, "b": 0.25}, 0)
    assert opened.ask(random, 0).point == {"a": 3.5, "b": 0.25}


@pytest.mark.parametrize(
    ("end", "missing"),
    [
        (lambda study, claim: study.finish(claim, record(0, [7.0])), False),
        (lambda study, claim: study.finish(claim, record(0, [7.0], state="pruned")), False),
        (lambda study, claim: study.fail(claim, "why", final=True, record=None), False),
        (lambda study, claim: study.fail(claim, "why", final=False, record=None), True),
        (lambda study, claim: study.give_up_lost(claim, max_retries=1), True),
        (lambda study, claim: study.give_up_lost(claim, max_retries=0), False),
    ],
)
def test_which_ends_leave_a_unit_missing(
    opened: SweepStudy, end: Callable[[SweepStudy, studies.Claim], object], missing: bool
) -> None:
    unit = Unit.of({"a": 1, "b": 1}, 1)
    end(opened, opened.start(unit))
    assert opened.missing([unit]) == ([unit] if missing else [])
    assert opened.settled() == (set() if missing else {unit})


def test_a_unit_may_be_lost_so_often(opened: SweepStudy) -> None:
    unit = Unit.of({"a": 1, "b": 1}, 1)
    other = Unit.of({"a": 1, "b": 1}, 2)
    assert opened.give_up_lost(opened.start(other), max_retries=2)
    again = [opened.give_up_lost(opened.start(unit), max_retries=2) for _ in range(3)]
    assert again == [True, True, False]
