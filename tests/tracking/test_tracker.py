from __future__ import annotations

import dataclasses
import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kdsweep.config import Config, TrackingConfig
from kdsweep.errors import UserError
from kdsweep.tracking import DatasetInfo, Status, Tracker, create_tracker, flatten
from tests.tracking.opened import open_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGITS = DatasetInfo(
    name="digits",
    digest="0123456789abcdef" * 4,
    source="/data/digits",
    n_train=1297,
    n_val=144,
    n_test=356,
    shape=(3, 32, 32),
    split="split_seed=0",
)


def test_a_sweep_reads_back_with_mlflows_own_client(
    tracker: Tracker, client: MlflowClient, tmp_path: Path
) -> None:
    images = tmp_path / "digits"
    images.mkdir()
    dataset = dataclasses.replace(DIGITS, source=str(images))
    weights = tmp_path / "student.safetensors"
    weights.write_bytes(b"\0\1" * 500)
    sweep = tracker.open_sweep("temperatures", params={"cells": 2}, tags={"device": "cpu"})
    runs = []
    for temperature in (1.0, 4.0):
        run = tracker.open_run(
            f"T={temperature:g}",
            parent=sweep,
            params={"distill": {"temperature": temperature}},
            tags={"kdsweep.seed": "0"},
            dataset=dataset,
        )
        for epoch in (1, 2, 3):
            metrics = {"train_loss": 1 / epoch, "val_accuracy": 10.0 * epoch + temperature}
            tracker.log_epoch(run, metrics, epoch=epoch)
        tracker.log_metrics(run, {"latency_ms": 0.123456789012345})
        tracker.log_file(run, weights, "checkpoint")
        tracker.log_text(run, "seed: 0\n", "config/config.yaml")
        tracker.set_tags(run, {"kdsweep.loss": "hinton"})
        tracker.close(run, "finished")
        runs.append(run)
    tracker.close(sweep, "finished")

    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.mlflow.parentRunId = '{sweep}' and params.distill.temperature = '4.0'",
    )
    assert [run.info.run_id for run in found] == [runs[1]]
    (read,) = found
    assert (read.info.run_name, read.info.status) == ("T=4", "FINISHED")
    assert read.info.end_time >= read.info.start_time
    assert read.data.metrics == {
        "train_loss": 1 / 3,
        "val_accuracy": 34.0,
        "latency_ms": 0.123456789012345,
    }
    history = client.get_metric_history(runs[1], "val_accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 14.0), (2, 24.0), (3, 34.0)]
    tags = read.data.tags
    assert tags["kdsweep.study"] == "temperatures"
    assert "kdsweep.state" not in tags  # MLflow's own status says it
    assert (tags["kdsweep.seed"], tags["kdsweep.loss"]) == ("0", "hinton")
    assert read.inputs is not None
    from mlflow.data import get_source

    entered = {one.tags[0].value: one.dataset for one in read.inputs.dataset_inputs}
    assert {one.tags[0].key for one in read.inputs.dataset_inputs} == {"mlflow.data.context"}
    profiles = {context: json.loads(one.profile or "") for context, one in entered.items()}
    assert {context: profile["num_rows"] for context, profile in profiles.items()} == {
        "training": 1297,
        "validation": 144,
    }
    assert {profile["sha256"] for profile in profiles.values()} == {DIGITS.digest}
    for part, one in zip(("train", "val"), entered.values(), strict=True):
        assert one.name == f"digits {part}"
        assert one.digest.startswith(f"{part}-{DIGITS.digest[:20]}")
        assert '"shape": [-1, 3, 32, 32]' in (one.schema or "")
        assert Path(get_source(one).load()) == images, "MLflow finds where they came from"
    files = [file.path for file in client.list_artifacts(runs[1], "checkpoint")]
    assert files == ["checkpoint/student.safetensors"]
    for name, content in (
        ("checkpoint/student.safetensors", weights.read_bytes()),
        ("config/config.yaml", b"seed: 0\n"),
    ):
        assert Path(client.download_artifacts(runs[1], name)).read_bytes() == content
    parent = client.get_run(sweep)
    assert (parent.info.run_name, parent.info.status) == ("temperatures", "FINISHED")
    assert parent.data.params == {"cells": "2"}
    assert parent.data.tags["device"] == "cpu"


def test_artefacts_lie_under_the_root(tracker: Tracker, root: Path) -> None:
    run = open_run(tracker)
    tracker.log_text(run, "text", "a/b.txt")
    tracker.flush()
    assert (root / "artifacts" / run / "artifacts" / "a" / "b.txt").read_text() == "text"


def test_the_whole_configuration_is_logged(tracker: Tracker, client: MlflowClient) -> None:
    many = {f"option{n:03}": n for n in range(250)}
    run = tracker.open_run(
        "a", parent=None, params={"config": Config(), "long": "x" * 9000, **many}, tags={}
    )
    tracker.flush()
    params = client.get_run(run).data.params
    assert params == flatten({"config": Config(), "long": "x" * 9000, **many})
    assert params["config.train.optimizer.lr"] == "0.001"
    assert params["long"] == "x" * 5999 + "…"


def test_long_tags_are_cut(tracker: Tracker, client: MlflowClient) -> None:
    run = tracker.open_run("a", parent=None, params={}, tags={"note": "y" * 9000})
    assert client.get_run(run).data.tags["note"] == "y" * 7999 + "…"


def test_values_that_are_no_numbers_are_kept(tracker: Tracker, client: MlflowClient) -> None:
    run = open_run(tracker)
    tracker.log_epoch(run, {"loss": 2.5, "norm": 1.0}, epoch=1)
    tracker.log_epoch(run, {"loss": math.nan, "norm": math.inf}, epoch=2)
    tracker.close(run, "failed", reason="the loss is not a number in epoch 2")
    loss = [m.value for m in client.get_metric_history(run, "loss")]
    assert loss[0] == 2.5
    assert math.isnan(loss[1])
    assert client.get_metric_history(run, "norm")[1].value > 1e308  # how MLflow keeps infinity
    read = client.get_run(run)
    assert read.info.status == "FAILED"
    assert read.data.tags["kdsweep.reason"] == "the loss is not a number in epoch 2"


@pytest.mark.parametrize(
    ("status", "expected", "state"),
    [
        ("finished", "FINISHED", None),
        ("failed", "FAILED", None),
        ("killed", "KILLED", None),
        ("pruned", "KILLED", "pruned"),
    ],
)
def test_how_a_run_ends(
    tracker: Tracker, client: MlflowClient, status: Status, expected: str, state: str | None
) -> None:
    run = tracker.open_run("a", parent=None, params={}, tags={}, start_ms=1000)
    tracker.close(run, status, end_ms=5000)
    read = client.get_run(run)
    assert (read.info.status, read.data.tags.get("kdsweep.state")) == (expected, state)
    assert (read.info.start_time, read.info.end_time) == (1000, 5000)


def test_a_found_curve_goes_in_few_calls(
    tracker: Tracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient as Client

    calls: list[int] = []
    log_batch = Client.log_batch

    def counted(self: Client, run: str, metrics: Sequence[Any] = (), **rest: Any) -> None:
        calls.append(len(metrics))
        log_batch(self, run, metrics, **rest)

    monkeypatch.setattr(Client, "log_batch", counted)
    run = open_run(tracker)
    tracker.flush()
    calls.clear()
    curve = [{f"metric{k}": epoch + k / 10 for k in range(10)} for epoch in range(1, 241)]
    tracker.log_history(run, curve)
    tracker.flush()
    assert calls == [1000, 1000, 400]
    history = client.get_metric_history(run, "metric3")
    assert [(m.step, m.value) for m in history] == [(e, e + 0.3) for e in range(1, 241)]


def test_one_call_for_each_run_and_epoch(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient as Client

    calls: list[tuple[str, int]] = []

    def counted(self: Client, run: str, metrics: list[object]) -> None:
        calls.append((run, len(metrics)))

    runs = [open_run(tracker, name) for name in "ab"]
    tracker.flush()
    monkeypatch.setattr(Client, "log_batch", counted)
    for epoch in (1, 2):
        for run in runs:
            tracker.log_epoch(run, dict.fromkeys("uvwxyz", 1.0), epoch=epoch)
        tracker.flush()
    assert calls == [(run, 6) for _ in range(2) for run in runs]


def test_runs_of_a_study(tracker: Tracker) -> None:
    sweep = tracker.open_sweep("mine", params={}, tags={})
    other = tracker.open_sweep("other", params={}, tags={})
    trial = tracker.open_run("trial", parent=sweep, params={"a": 1}, tags={})
    seed = tracker.open_run("seed", parent=trial, params={}, tags={})
    tracker.open_run("foreign", parent=other, params={}, tags={})
    tracker.log_metrics(seed, {"val_accuracy": 12.5})
    tracker.close(seed, "pruned")
    records = tracker.runs_of("mine")
    assert [r.run_id for r in records] == [sweep, trial, seed]
    assert [r.name for r in records] == ["mine", "trial", "seed"]
    assert [r.parent for r in records] == [None, sweep, trial]
    assert [r.sweep for r in records] == [True, False, False]
    assert [r.state for r in records] == ["running", "running", "pruned"]
    assert [r.status for r in records] == ["RUNNING", "RUNNING", "KILLED"]
    assert records[1].params == {"a": "1"}
    assert records[2].metrics == {"val_accuracy": 12.5}
    tracker.set_tags(trial, {"kdsweep.key": "abc"})
    assert [r.run_id for r in tracker.runs_of("mine", tagged="kdsweep.key")] == [trial]


@pytest.mark.parametrize("study", ["it's", 'say "T"', "a%b_c", "back\\slash", "température; --"])
def test_any_name_of_a_study(tracker: Tracker, study: str) -> None:
    sweep = tracker.open_sweep(study, params={}, tags={})
    tracker.open_sweep("axbyc", params={}, tags={})
    assert [record.run_id for record in tracker.runs_of(study)] == [sweep]
    assert tracker.open_sweep(study, params={}, tags={}) == sweep


def test_a_study_that_mlflow_cannot_search_for(tracker: Tracker) -> None:
    with pytest.raises(UserError, match="both"):
        tracker.open_sweep('it\'s "T"', params={}, tags={})


def test_a_second_session_reopens_the_sweep(
    root: Path, tracker: Tracker, client: MlflowClient
) -> None:
    sweep = tracker.open_sweep("s", params={"cells": 5, "a": 1}, tags={"device": "cpu"})
    tracker.close(sweep, "killed", reason="Ctrl-C")
    again = create_tracker(TrackingConfig(), root=root)
    assert again.open_sweep("s", params={"cells": 9, "b": 2}, tags={"device": "cuda"}) == sweep
    read = client.get_run(sweep)
    assert read.info.status == "RUNNING"
    assert read.data.params == {"cells": "5", "a": "1", "b": "2"}
    assert read.data.tags["device"] == "cuda"
    assert "kdsweep.reason" not in read.data.tags
    again.close(sweep, "finished")
    assert client.get_run(sweep).info.status == "FINISHED"


def test_a_continued_sweep_lasts_as_long_as_its_work(
    root: Path, tracker: Tracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds, an hour of nothing, three seconds, a day of nothing: five seconds."""
    clock = 1_000_000

    def session(wait: int, work: int) -> int:
        nonlocal clock
        clock += wait
        monkeypatch.setattr("kdsweep.tracking.tracker._now", lambda: clock)
        own = create_tracker(TrackingConfig(), root=root)
        sweep = own.open_sweep("s", params={}, tags={})
        if work:
            run = own.open_run("a", parent=sweep, params={}, tags={})
            clock += work
            own.close(run, "finished")
        own.close(sweep, "finished")
        info = client.get_run(sweep).info
        assert info.end_time is not None
        return int(info.end_time - info.start_time)

    assert session(0, 2_000) == 2_000
    assert session(600_000, 0) == 2_000, "looked at, without any training"
    assert session(3_000_000, 3_000) == 5_000
    assert session(86_400_000, 0) == 5_000
    assert session(0, 1_000) == 6_000


def test_two_trackers_of_one_process_share_a_sweep(
    root: Path, tracker: Tracker, client: MlflowClient
) -> None:
    sweep = tracker.open_sweep("s", params={}, tags={})
    other = create_tracker(TrackingConfig(), root=root)
    assert other.open_sweep("s", params={}, tags={}) == sweep
    other.close(sweep, "killed")
    tracker.close(sweep, "finished")
    read = client.get_run(sweep)
    assert read.info.status == "FINISHED"
    assert not [key for key in read.data.tags if key.startswith("kdsweep.owner")]


def test_mlflows_variable_of_the_run_is_not_heeded(
    tracker: Tracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    run = open_run(tracker)
    tracker.log_epoch(run, {"loss": 1.0}, epoch=1)
    tracker.close(run, "finished")
    assert run != "0" * 32
    assert client.get_run(run).data.metrics == {"loss": 1.0}


def test_many_runs_are_open_at_once(tracker: Tracker, client: MlflowClient) -> None:
    runs = [open_run(tracker, f"run {n}") for n in range(6)]

    def train(n: int) -> None:
        for epoch in range(1, 6):
            tracker.log_epoch(runs[n], {"loss": float(10 * n + epoch)}, epoch=epoch)
        tracker.close(runs[n], "finished")

    threads = [threading.Thread(target=train, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, run in enumerate(runs):
        assert [m.value for m in client.get_metric_history(run, "loss")] == [
            10 * n + epoch for epoch in range(1, 6)
        ]


def test_the_comparison_names_the_experiment(tracker: Tracker, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    assert tracker.compare_url(["a", "b"]).endswith(
        f"#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%22{experiment.experiment_id}%22%5D"
    )


def test_a_network_has_one_run_in_a_study(root: Path, tracker: Tracker) -> None:
    def open_in(tracker: Tracker, study: str, key: str) -> str | None:
        sweep = tracker.open_sweep(study, params={}, tags={})
        return tracker.open_unique(
            "baseline",
            unique="kdsweep.key",
            parent=sweep,
            params={"a": 1},
            tags={"kdsweep.key": key},
        )

    another = create_tracker(TrackingConfig(), root=root)  # as another process would have it
    first = open_in(tracker, "s", "k")
    assert first is not None
    assert open_in(another, "s", "k") is None, "that one is still open"
    tracker.close(first, "finished")
    assert open_in(another, "s", "k") is None
    assert open_in(another, "s", "other") is not None
    assert open_in(another, "another study", "k") is not None
    (found,) = [r for r in tracker.runs_of("s", tagged="kdsweep.key") if r.run_id == first]
    assert found.params == {"a": "1"}


def test_a_network_whose_run_failed_may_have_another(tracker: Tracker) -> None:
    sweep = tracker.open_sweep("s", params={}, tags={})
    tags = {"kdsweep.key": "k"}
    run = tracker.open_run("baseline", parent=sweep, params={}, tags=tags)
    tracker.close(run, "killed")
    again = tracker.open_unique(
        "baseline", unique="kdsweep.key", parent=sweep, params={}, tags=tags
    )
    assert again not in (None, run)


def test_a_session_that_trains_nothing_does_not_stretch_the_study(
    root: Path, tracker: Tracker, client: MlflowClient
) -> None:
    sweep = tracker.open_sweep("s", params={}, tags={})
    for end in (9_000, 7_000):
        run = tracker.open_run("trial", parent=sweep, params={}, tags={}, start_ms=1000)
        tracker.close(run, "finished", end_ms=end)
    tracker.close(sweep, "finished")
    assert client.get_run(sweep).info.end_time == 9_000
    again = create_tracker(TrackingConfig(), root=root)
    assert again.open_sweep("s", params={}, tags={}) == sweep
    again.log_metrics(sweep, {"trials": 2.0})
    again.close(sweep, "finished")
    read = client.get_run(sweep)
    assert (read.info.status, read.info.end_time) == ("FINISHED", 9_000)


def test_a_study_without_runs_ends_when_it_is_closed(
    tracker: Tracker, client: MlflowClient
) -> None:
    other = tracker.open_sweep("other", params={}, tags={})
    run = tracker.open_run("trial", parent=other, params={}, tags={}, start_ms=1000)
    tracker.close(run, "finished", end_ms=9_000)
    sweep = tracker.open_sweep("s", params={}, tags={})
    tracker.close(sweep, "failed")
    read = client.get_run(sweep)
    assert read.info.end_time >= read.info.start_time > 9_000


def test_a_verdict_can_be_read_and_sorted_by(tracker: Tracker, client: MlflowClient) -> None:
    sweep = tracker.open_sweep("s", params={}, tags={})
    runs = [tracker.open_run(name, parent=sweep, params={}, tags={}) for name in "ab"]
    for run, difference in zip(runs, (0.25, -1.5), strict=True):
        tracker.close(run, "finished")
        tracker.log_verdict(
            run,
            verdict="better" if difference > 0 else "worse",
            difference=difference,
            low=difference - 1,
            high=difference + 1,
            n=5,
        )
    tracker.describe(sweep, "# Two cells\n\n*a* is better.")
    tracker.flush()
    experiment = client.get_experiment_by_name("kdsweep")
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id], "metrics.n_seeds = 5", order_by=["metrics.delta DESC"]
    )
    assert [run.info.run_id for run in found] == runs
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED"]
    assert found[0].data.metrics == {
        "delta": 0.25,
        "delta_low": -0.75,
        "delta_high": 1.25,
        "n_seeds": 5.0,
    }
    tags = found[1].data.tags
    assert (tags["kdsweep.verdict"], tags["kdsweep.interval"]) == ("worse", "-1.50 [-2.50, -0.50]")
    assert client.get_run(sweep).data.tags["mlflow.note.content"].startswith("# Two cells\n")
