"""What MLflow shows of networks, trials and seeds, in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdsweep.config import Config, DistillConfig, TrackingConfig
from kdsweep.jobs.job import Job
from kdsweep.jobs.logged import as_yaml, logged_params, mean_history, mean_metrics, of_seed
from kdsweep.jobs.logger import RunLogger
from kdsweep.tracking import RunRecord
from kdsweep.tracking.session import TrackingSession

SECRET = Config(
    study="s",
    seeds=2,
    storage="postgresql+psycopg2://u:PW@h/d",
    tracking=TrackingConfig(backend="server", uri="http://u:PW@h:5000"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def sessions(root: Path) -> Iterator[list[TrackingSession]]:
    """Two of one root, as two processes would have them."""
    sessions = [TrackingSession(root, TrackingConfig()) for _ in range(2)]
    yield sessions
    for session in sessions:
        session.close()


_SPLIT = SimpleNamespace(labels=[0, 1])
_HOST = SimpleNamespace(name="digits", train=_SPLIT, val=_SPLIT, test=_SPLIT)
DATASET: Any = SimpleNamespace(host=_HOST, digest="ab" * 32)


@pytest.fixture
def dataset() -> Any:
    return DATASET


@pytest.fixture
def baseline(tmp_path: Path) -> Any:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    meta = SimpleNamespace(seed=3, history=[{"loss": 2.0}, {"loss": 1.0}], costs={"size_mib": 1.0})
    return SimpleNamespace(
        kind="baseline", key="k", meta=meta, weights=weights, metrics={"val_accuracy": 90.0}
    )


def start(session: TrackingSession, study: str) -> RunLogger:
    config = Config(study=study)
    logger = RunLogger(session, config, "a cpu")
    logger.start(config, DATASET)
    return logger


def runs(session: TrackingSession, study: str) -> dict[str, RunRecord]:
    records = session.tracker.runs_of(study)
    assert len({record.name for record in records}) == len(records), "each is there once"
    return {record.name: record for record in records}


def test_processes_that_find_a_network_log_it_once(
    sessions: list[TrackingSession], dataset: Any, baseline: Any
) -> None:
    loggers = [start(session, "found") for session in sessions]  # both before either logs
    for logger in (*loggers, start(sessions[0], "found")):
        logger.mention(baseline, Config(study="found"), dataset)
    (run,) = [record for name, record in runs(sessions[0], "found").items() if name != "found"]
    assert run.name.startswith("baseline ")
    assert run.status == "FINISHED"
    assert run.tags["kdsweep.found"] == "true"
    assert run.metrics == {"loss": 1.0, "val_accuracy": 90.0, "size_mib": 1.0}


def test_a_network_that_another_process_trains_is_not_logged_again(
    sessions: list[TrackingSession], dataset: Any, baseline: Any
) -> None:
    trainer, finder = (start(session, "trained") for session in sessions)
    run = trainer.open_network("baseline", "k", Config(study="trained"), dataset, 3)
    finder.mention(baseline, Config(study="trained"), dataset)
    trainer.finish_network(run, baseline, Config(study="trained"))
    finder.mention(baseline, Config(study="trained"), dataset)
    assert len(runs(sessions[0], "trained")) == 2
    assert finder.open == []


def test_a_network_of_another_study_has_a_run_in_each(
    sessions: list[TrackingSession], dataset: Any, baseline: Any
) -> None:
    for study in ("a", "b"):
        start(sessions[0], study).mention(baseline, Config(study=study), dataset)
        assert len(runs(sessions[0], study)) == 2


def test_seeds_cannot_be_taken_for_cells(
    sessions: list[TrackingSession], dataset: Any, tmp_path: Path
) -> None:
    config = Config(study="cells", seeds=2, trial=7)
    logger = start(sessions[0], "cells")
    opened = logger.open_job(Job(config=config, folder=tmp_path, overrides=()), dataset)
    shown = runs(sessions[0], "cells")
    roles = {record.run_id: record.tags.get("kdsweep.role") for record in shown.values()}
    assert {seed: roles[run] for seed, run in opened.items()} == {
        None: "student",
        0: "seed",
        1: "seed",
    }
    names = {record.run_id: name for name, record in shown.items()}
    assert names[opened[None]] == "T=4 alpha=0.7 none, trial 7"
    assert names[opened[1]] == f"seed 1 of {names[opened[None]]}"
    assert shown["cells"].tags["kdsweep.device"] == "a cpu"
    results = {record.run_id for record in shown.values() if "kdsweep.result" in record.tags}
    assert results == {opened[None]}, "what a table of cells has"
    logger.close_all("killed", "enough")


def finished(seed: int) -> Any:
    history = ({"val_accuracy": 50.0 + seed}, {"val_accuracy": 90.0 + 2 * seed})
    metrics = {**history[-1], "delta_vs_baseline": 1.0 + 2 * seed}
    return SimpleNamespace(metrics=metrics, history=history, status="finished", reason=None)


def test_no_metric_of_a_seed_has_the_name_of_a_cells(
    sessions: list[TrackingSession], dataset: Any, baseline: Any, tmp_path: Path
) -> None:
    config = Config(study="named", seeds=2, trial=7)
    logger = start(sessions[0], "named")
    (tmp_path / "result.json").write_text("{}")
    job = Job(config=config, folder=tmp_path, overrides=())
    opened = logger.open_job(job, dataset)
    record: Any = SimpleNamespace(
        seeds={seed: finished(seed) for seed in (0, 1)},
        objectives=["val_accuracy"],
        values=(91.0,),
        costs={"parameters": 7.0},
        state="complete",
        reason=None,
    )
    logger.finish_job(job, record, opened)
    logger.mention(baseline, config, dataset)
    shown = {record.run_id: record.metrics for record in runs(sessions[0], "named").values()}
    cell = shown.pop(opened[None] or "")
    assert cell == {
        "delta": 2.0,
        "val_accuracy": 91.0,
        "val_accuracy_sd": pytest.approx(2**0.5),
        "n_seeds": 2.0,
        "parameters": 7.0,
    }
    others = {name for metrics in shown.values() for name in metrics}
    assert {"seed/val_accuracy", "seed/delta_vs_baseline"} < others
    assert not {name for name in others if not name.startswith(("seed/", "system/"))}


def test_what_learns_from_labels_alone_has_no_temperature() -> None:
    taught = logged_params(Config(distill=DistillConfig(losses={"hinton": {"weight": 1.0}})))
    alone = logged_params(Config(distill=DistillConfig(losses={})))
    assert taught.keys() == alone.keys()
    for params, expected in ((taught, True), (alone, False)):
        distill = params["distill"]
        assert isinstance(distill, dict)
        assert ("temperature" in distill, "alpha" in distill) == (expected, expected)


def test_the_mean_curve_goes_as_far_as_all_seeds() -> None:
    assert mean_history([[{"a": 1.0}, {"a": 5.0}], [{"a": 3.0}]]) == [{"a": 2.0}]
    assert mean_history([]) == []
    assert of_seed({"a": 1.0}) == {"seed/a": 1.0}


def test_a_trial_shows_mean_spread_and_number_of_its_seeds() -> None:
    seeds = {n: SimpleNamespace(metrics={"val_accuracy": 90.0 + 2 * n}) for n in (0, 1)}
    record: Any = SimpleNamespace(seeds=seeds, objectives=["val_accuracy"])
    shown = mean_metrics(record)
    assert shown == {
        "val_accuracy": 91.0,
        "val_accuracy_sd": pytest.approx(2**0.5),
        "n_seeds": 2.0,
    }


def test_no_password_is_logged(
    sessions: list[TrackingSession], dataset: Any, tmp_path: Path, root: Path
) -> None:
    logger = RunLogger(sessions[0], SECRET, "a cpu")
    logger.start(SECRET, dataset)
    logger.open_job(Job(config=SECRET, folder=tmp_path, overrides=()), dataset)
    logger.close_all("finished", "done")
    shown = runs(sessions[0], "s")
    assert "PW" not in str(shown)
    assert any("u:***@h/d" in str(record.params) for record in shown.values())
    written = list((root / "artifacts").rglob("config.yaml"))
    assert written
    assert not any("PW" in path.read_text() for path in written)
    assert "http://u:***@h:5000" in as_yaml(SECRET)
