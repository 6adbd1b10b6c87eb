"""A sweep with seeds and pruning, its export and its confirmation, by the real commands.

Every check is made through Optuna's and MLflow's own clients, or on the files themselves.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from kdsweep.evaluate import unpack_correctness
from tests.conftest import REPOSITORY, Command, Sweep

SWEEP = (
    "-m", "experiment=smoke", "study=pruned", "seeds=2", "train.epochs=3", "pruner=asha",
    "pruner.reduction_factor=2", "distill.temperature=1,2,4", "distill.alpha=0.2,0.8",
)  # fmt: skip


@pytest.fixture(scope="module")
def sweep(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("pruned")
    ended = command(*SWEEP, cwd=folder)
    assert (ended.status, ended.err) == (0, "")
    return Sweep(folder, ended)


@pytest.fixture(scope="module")
def exported(sweep: Sweep, command: Command) -> Path:
    out = sweep.folder / "out"
    ended = command("study=pruned", f"out={out}", cwd=sweep.folder, module="kdsweep.export")
    assert (ended.status, ended.err) == (0, "")
    return out


def finished(sweep: Sweep) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in sweep.trials if trial.state == TrialState.COMPLETE]


def test_asha_sends_some_home_and_keeps_the_best(sweep: Sweep) -> None:
    trials = sweep.trials
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert len(trials) == 6
    assert pruned
    assert len(pruned) + len(finished(sweep)) == 6
    for trial in pruned:
        last = max(trial.intermediate_values)
        others = [
            other.intermediate_values[last]
            for other in trials
            if last in other.intermediate_values and other.number != trial.number
        ]
        assert last < 3
        assert max(others) >= trial.intermediate_values[last]


def test_a_pruned_trial_says_so_in_mlflow_and_stops_there(sweep: Sweep) -> None:
    for trial in sweep.trials:
        if trial.state != TrialState.PRUNED:
            continue
        last = max(trial.intermediate_values)
        run = sweep.mlflow.get_run(trial.user_attrs["mlflow_run_id"])
        assert run.data.tags["kdsweep.state"] == "pruned"
        assert "pruned after epoch" in run.data.tags["kdsweep.reason"]
        for seed in trial.user_attrs["seeds"].values():
            curve = sweep.mlflow.get_metric_history(seed["mlflow_run_id"], "seed/val_accuracy")
            assert max(point.step for point in curve) == last


def test_each_seed_has_its_run_under_its_trial_and_the_trial_their_mean(sweep: Sweep) -> None:
    for trial in finished(sweep):
        seeds = trial.user_attrs["seeds"]
        assert sorted(seeds) == ["0", "1"]
        values = []
        for seed in seeds.values():
            run = sweep.mlflow.get_run(seed["mlflow_run_id"])
            assert run.data.tags["mlflow.parentRunId"] == trial.user_attrs["mlflow_run_id"]
            assert run.info.status == "FINISHED"
            values.append(run.data.metrics["seed/val_accuracy"])
        logged = sweep.mlflow.get_run(trial.user_attrs["mlflow_run_id"]).data.metrics
        assert trial.value == pytest.approx(fmean(values))
        assert logged["val_accuracy"] == pytest.approx(fmean(values))
        assert logged["val_accuracy_sd"] == pytest.approx(stdev(values))


def test_which_images_each_seed_got_right_is_kept(sweep: Sweep) -> None:
    for trial in finished(sweep):
        for seed, kept in trial.user_attrs["seeds"].items():
            path = sweep.job(trial.number) / f"correct-seed{seed}.bits"
            right = unpack_correctness(path.read_bytes())
            assert 100.0 * right.mean() == pytest.approx(kept["metrics"]["val_accuracy"])


def test_the_study_itself_is_exported_and_optuna_alone_reads_it(
    sweep: Sweep, exported: Path
) -> None:
    copied = optuna.load_study(study_name="pruned", storage=f"sqlite:///{exported}/study.db")
    assert len(copied.trials) == 6
    for ours, theirs in zip(sweep.trials, copied.trials, strict=True):
        assert (ours.state, ours.params) == (theirs.state, theirs.params)
        assert ours.values == theirs.values
        assert ours.intermediate_values == theirs.intermediate_values
        assert ours.user_attrs == theirs.user_attrs


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_every_number_of_the_tables_is_mlflows(sweep: Sweep, exported: Path, kind: str) -> None:
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[kind]
    table = read(exported / f"trials.{kind}")
    assert list(table["number"]) == list(range(6))
    assert table["param.distill.temperature"].tolist() == [1, 1, 2, 2, 4, 4]
    complete = table[table["state"] == "COMPLETE"]
    assert len(complete) == len(finished(sweep))
    checked = 0
    for _, row in complete.iterrows():
        for seed in (0, 1):
            metrics = sweep.mlflow.get_run(row[f"seed.{seed}.mlflow_run_id"]).data.metrics
            for column in table.columns:
                if column.startswith(f"seed.{seed}.") and not column.endswith("run_id"):
                    name = column.removeprefix(f"seed.{seed}.")
                    assert row[column] == pytest.approx(metrics[f"seed/{name}"], rel=1e-9), column
                    checked += 1
        trial = sweep.mlflow.get_run(row["mlflow_run_id"]).data.metrics
        assert row["value.val_accuracy"] == pytest.approx(trial["val_accuracy"])
    assert checked >= 10 * len(complete)
    for _, row in table[table["state"] == "PRUNED"].iterrows():
        reported = sweep.trials[row["number"]].intermediate_values
        assert row["value.val_accuracy"] == pytest.approx(reported[max(reported)])


def test_best_yaml_trains_the_best_cell_again(
    sweep: Sweep, exported: Path, command: Command
) -> None:
    best = max(finished(sweep), key=lambda trial: trial.value or 0)
    ended = command("--config-dir", str(exported), "--config-name", "best", cwd=sweep.folder)
    assert (ended.status, ended.err) == (0, "")
    (record,) = (sweep.folder / "mlruns" / "hydra" / "runs").rglob("result.json")
    again = json.loads(record.read_text())
    assert again["values"] == pytest.approx(best.values)
    assert again["config"]["distill"]["temperature"] == best.params["distill.temperature"]


def test_the_studies_are_listed_and_a_near_name_is_suggested(
    sweep: Sweep, command: Command
) -> None:
    listed = command(cwd=sweep.folder, module="kdsweep.export")
    assert re.fullmatch(r"pruned: 6 trials, best \d+\.\d\d\n", listed.out)
    wrong = command("study=prunde", cwd=sweep.folder, module="kdsweep.export")
    assert wrong.status == 2
    assert wrong.err.endswith("did you mean pruned?; python -m kdsweep.export lists them\n")


@pytest.fixture(scope="module")
def confirmed(sweep: Sweep, command: Command) -> dict[str, Any]:
    ended = command("study=pruned", "top=2", "seeds=3", cwd=sweep.folder, module="kdsweep.confirm")
    assert (ended.status, ended.err) == (0, "")
    folder = sweep.folder / "mlruns" / "confirmations" / "pruned"
    return {
        "out": ended.out,
        "selection": json.loads((folder / "selection.json").read_text()),
        "verdict": json.loads((folder / "verdict.json").read_text()),
    }


def test_the_finalists_are_the_best_by_validation_on_fresh_seeds(
    sweep: Sweep, confirmed: dict[str, Any]
) -> None:
    ranked = sorted(finished(sweep), key=lambda trial: -(trial.value or 0))
    selection = confirmed["selection"]
    assert [f["value"] for f in selection["finalists"]] == [t.value for t in ranked[:2]]
    assert (selection["first_seed"], selection["seeds"]) == (2, 3)


def test_test_is_opened_by_the_confirmation_alone(sweep: Sweep, confirmed: dict[str, Any]) -> None:
    of_sweep = [run for runs in sweep.runs.values() for run in runs]
    assert not [run for run in of_sweep if any("test" in name for name in run.data.metrics)]
    for cell in confirmed["verdict"]["cells"]:
        assert len(cell["test_accuracy"]) == 3
        assert all(math.isfinite(value) for value in cell["test_accuracy"])
        assert len(cell["baseline_test_accuracy"]) == 5  # 3 sqrt(2), of seeds of their own
        gain = fmean(cell["test_accuracy"]) - fmean(cell["baseline_test_accuracy"])
        assert cell["difference"] == pytest.approx(gain)
    assert "On these 359 test images" in confirmed["out"]


def test_a_study_is_confirmed_once(
    sweep: Sweep, confirmed: dict[str, Any], command: Command
) -> None:
    again = command("study=pruned", cwd=sweep.folder, module="kdsweep.confirm")
    assert again.status == 2
    assert "was confirmed on" in again.err
    assert "again=true" in again.err


def test_what_was_confirmed_is_packaged_and_answers_as_in_training(
    sweep: Sweep, confirmed: dict[str, Any], command: Command
) -> None:
    asked = ("study=pruned", "formats=safetensors")
    ended = command(*asked, cwd=sweep.folder, module="kdsweep.package")
    assert (ended.status, ended.err) == (0, "")
    assert re.search(r"^(\d+) of \1 validation images answered as in", ended.out, re.MULTILINE)
    about = json.loads((sweep.folder / "mlruns/packages/pruned/model.json").read_text())
    assert about["seed"] in range(2, 5)
    (cell,) = [one for one in confirmed["verdict"]["cells"] if one["trial"] == about["trial"]]
    assert about["expected"]["mean"] == pytest.approx(fmean(cell["test_accuracy"]))
    assert about["expected"]["images"] == 359
    assert about["alone"]["mean"] == pytest.approx(fmean(cell["baseline_test_accuracy"]))
    assert "python -m kdsweep.package study=pruned" in confirmed["out"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both interrupted sweeps run: the second finds the teacher and the baseline."""
    return tmp_path_factory.mktemp("interrupted")


@contextlib.contextmanager
def interrupted(folder: Path, study: str, times: int) -> Iterator[subprocess.Popen[str]]:
    """A long sweep that was sent SIGINT once its students trained; it does not outlive a test."""
    # What a shell starts in the background ignores SIGINT, and so would this: tests may run there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "kdsweep", "-m", "experiment=smoke", f"study={study}",
            "data.train_limit=64", "train.epochs=100", "teacher.epochs=100",
            "distill.temperature=1,2,3",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("student "):
                    break
            for _ in range(times):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                time.sleep(0.05)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_closes_all_runs_and_the_same_command_would_continue(folder: Path) -> None:
    with interrupted(folder, "once", times=1) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "the same command continues study once" in said
    sweep = Sweep(folder, None)
    study = optuna.load_study(study_name="once", storage=f"sqlite:///{folder}/mlruns/optuna.db")
    states = [trial.state for trial in study.get_trials()]
    assert TrialState.RUNNING not in states
    assert states == [TrialState.FAIL] * 3
    assert not any(trial.user_attrs.get("kdsweep:final") for trial in study.get_trials())
    experiment = sweep.mlflow.get_experiment_by_name("kdsweep")
    assert experiment is not None
    runs = sweep.mlflow.search_runs([experiment.experiment_id])
    by_role: dict[str, set[str]] = {}
    for run in runs:
        by_role.setdefault(run.data.tags["kdsweep.kind"], set()).add(run.info.status)
    assert by_role["sweep"] == {"KILLED"}
    assert "RUNNING" not in by_role["run"]
    assert "KILLED" in by_role["run"]


def test_a_second_ctrl_c_stops_at_once(folder: Path) -> None:
    with interrupted(folder, "twice", times=2) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped at once" in said
    assert "Traceback" not in said, said
