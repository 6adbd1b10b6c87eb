from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from kdsweep.sweep.telling import tell
from omegaconf import OmegaConf
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from kdsweep.errors import TrainingError, UserError
from kdsweep.results.record import RECORD
from kdsweep.sweep import study as studies
from kdsweep.sweep.opening import open_study
from kdsweep.tracking.owner import this_process
from tests.sweep.fake import Study, studying

CELLS = "distill.temperature=1,2"
DEAD = str(dataclasses.replace(this_process(), start="0"))


@pytest.fixture(name="study")
def _study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    with studying(tmp_path, monkeypatch) as made:
        yield made


def score(point: dict[str, str]) -> float:
    return float(point["distill.temperature"])


def die(study: Study, *more: str, record: dict[str, object] | None = None) -> None:
    """Leave the first trial RUNNING, owned by a process that is dead."""

    def train(point: dict[str, str]) -> float:
        raise KeyboardInterrupt

    patch = pytest.MonkeyPatch()
    patch.setattr(studies, "release", lambda *_: None)
    patch.setattr(studies, "this_process", lambda: DEAD)
    with patch.context(), pytest.raises(KeyboardInterrupt):
        study.sweep(train, CELLS, "study=s", "hydra.sweeper.n_jobs=1", *more)
    patch.undo()
    (lost,) = [t for t in study.trials if t.state == TrialState.RUNNING]
    if record is not None:
        keep(study, lost.number, record)


def keep(study: Study, number: int, record: dict[str, object]) -> Path:
    """Write a job's record where its sweep looks for it; its folder."""
    folder = study.folder / "hydra" / "studies" / "s" / str(number)
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps(record))
    return folder


RESULT: dict[str, object] = {
    "values": [7.0], "seeds": {}, "run_id": None, "seconds": 1.0, "objectives": ["val_accuracy"],
    "reason": "pruned after epoch 1",
}  # fmt: skip


def test_a_lost_trial_is_trained_again(study: Study) -> None:
    die(study)
    assert len(study.sweep(score, CELLS, "study=s").points) == 2
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[0].user_attrs[studies.REASON] == "its process died"
    assert study.trials[2].params == {"distill.temperature": 1}


@pytest.mark.parametrize("state", ["complete", "pruned"])
def test_a_lost_trial_with_a_record_is_adopted(study: Study, state: str) -> None:
    die(study, record={**RESULT, "state": state})
    assert len(study.sweep(score, CELLS, "study=s").points) == 1
    assert study.trials[0].state.name == state.upper()
    assert study.trials[0].values == ([7.0] if state == "complete" else None)


def test_what_a_batch_had_finished_is_told_when_it_is_interrupted(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        if point["distill.temperature"] == "2":
            raise KeyboardInterrupt
        keep(study, 0, {**RESULT, "state": "complete"})
        return 7.0

    with pytest.raises(KeyboardInterrupt):
        study.sweep(train, CELLS, "study=s", "hydra.sweeper.n_jobs=2")
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "WAITING"]
    assert study.trials[0].values == [7.0]


def test_a_finished_record_outlives_a_failure_beside_it(study: Study) -> None:
    folder = keep(study, 0, {**RESULT, "state": "complete"})
    made = open_study(name="s", storage=study.storage, directions=["maximize"])
    ended = JobReturn(
        status=JobStatus.FAILED,
        _return_value=RuntimeError("of another population"),
        hydra_cfg=OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}}),
    )
    assert tell(made, made.ask(), ended) is None
    assert made.trials[0].values == [7.0]


def test_a_study_is_not_widened(study: Study) -> None:
    study.sweep(score, CELLS, "study=s")
    with pytest.raises(
        UserError, match=r"^study=s: .* other choices for distill.temperature \(1,2\); a study"
    ):
        study.sweep(score, "distill.temperature=1,2,3", "study=s")
    assert study.sweep(score, CELLS, "study=s").points == []
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 2


def test_a_seed_is_no_axis(study: Study) -> None:
    with pytest.raises(UserError, match=r"^seed: is no axis of a sweep; seeds=3 trains"):
        study.sweep(score, "seed=0,1", CELLS)


def test_a_cell_that_is_lost_too_often_is_given_up(study: Study) -> None:
    limit = "hydra.sweeper.max_retries=0"
    die(study)
    assert len(study.sweep(score, CELLS, "study=s", limit).points) == 1
    assert study.sweep(score, CELLS, "study=s", limit).points == []
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE"]


def test_what_runs_elsewhere_is_left_alone(study: Study) -> None:
    def train(point: dict[str, str]) -> float:
        assert study.sweep(score, CELLS, "study=s").points == []
        raise TrainingError("diverged")

    with pytest.raises(TrainingError):
        study.sweep(train, CELLS, "study=s", "hydra.sweeper.n_jobs=2")
    assert len(study.trials) == 2


def test_a_trial_taken_has_an_owner_before_it_runs(tmp_path: Path) -> None:
    opened = open_study(name="s", storage=f"sqlite:///{tmp_path}/s.db", directions=["maximize"])
    space = {"a": FloatDistribution(0, 10), "b": FloatDistribution(0, 1)}
    assert studies.enqueue_missing(opened, [{"a": 1, "b": 1}, {"a": 1.0, "b": 1}], space) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "Trial", None)  # killed when it runs
        with pytest.raises(TypeError):
            studies.claim(opened, space, 1)
    (trial,) = opened.get_trials()
    assert trial.state == TrialState.RUNNING
    assert trial.user_attrs[studies.OWNER] == str(this_process())
    assert studies.point(trial) == {"a": 1, "b": 1}
    assert studies.enqueue_missing(opened, [{"a": 1, "b": 1}], space) == 0
    assert studies.claim(opened, space, 1) == []


def test_a_point_that_was_queued_with_optuna_is_taken_as_it_is(tmp_path: Path) -> None:
    opened = open_study(name="s", storage=f"sqlite:///{tmp_path}/s.db", directions=["maximize"])
    space = {"a": FloatDistribution(0, 10), "b": FloatDistribution(0, 1)}
    opened.enqueue_trial({"a": 3.5, "b": 0.25})
    assert studies.enqueue_missing(opened, [{"a": 3.5, "b": 0.25}, {"a": 1, "b": 1}], space) == 1
    taken = studies.claim(opened, space, 5)
    assert [trial.params for trial in taken] == [{"a": 3.5, "b": 0.25}, {"a": 1, "b": 1}]
