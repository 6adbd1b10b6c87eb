"""A sweep as a user runs it, in a process of its own, read back with the stores' own clients.

All tests share one sweep; what comes after it (a rerun, a single run, other sweepers) works in
the same folder, where teacher and baseline are found instead of trained.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import optuna
import pytest
from omegaconf import OmegaConf

from kdsweep.evaluate import unpack_correctness
from tests.conftest import Command, Sweep

if TYPE_CHECKING:
    from mlflow import MlflowClient

SMOKE = "experiment=smoke"
TEMPERATURES = [1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def sweep(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("smoke")
    ended = command("-m", SMOKE, "distill.temperature=1,2,3,4,5", cwd=folder)
    assert ended.status == 0, ended.err
    return Sweep(folder, ended)


def test_nothing_is_complained_of(sweep: Sweep) -> None:
    assert sweep.ended.err == ""


def test_it_ends_with_a_table_and_the_commands_that_go_on(sweep: Sweep) -> None:
    lines = sweep.ended.out.splitlines()
    for name in (
        "teacher cifar_student",
        "baseline cifar_student",
        *(f"temperature={t}" for t in TEMPERATURES),
    ):
        assert sum(bool(re.match(rf"{name}( \*)? +\d+\.\d\d ", line)) for line in lines) == 1
    best = max(sweep.trials, key=lambda trial: trial.value or 0)
    assert any(
        line.startswith(f"temperature={best.params['distill.temperature']} *") for line in lines
    )
    (ui,) = [line for line in lines if "mlflow ui" in line]
    assert ui.endswith("--backend-store-uri sqlite:///mlruns/mlflow.db")
    (address,) = [unquote(line) for line in lines if "/#/compare-runs?" in line]
    compared = [*sweep.runs["student"], *sweep.runs["baseline"]]
    assert all(run.info.run_id in address for run in compared)
    assert any(line.endswith(f"&viewStateShareKey={sweep.study}") for line in lines)


def test_the_study_holds_five_trials_numbered_as_the_jobs(sweep: Sweep) -> None:
    assert optuna.get_all_study_names(f"sqlite:///{sweep.folder}/mlruns/optuna.db") == [
        sweep.study
    ]
    assert [trial.number for trial in sweep.trials] == [0, 1, 2, 3, 4]
    assert {trial.state for trial in sweep.trials} == {optuna.trial.TrialState.COMPLETE}
    assert [t.params for t in sweep.trials] == [{"distill.temperature": t} for t in TEMPERATURES]
    for trial in sweep.trials:
        hydra = OmegaConf.load(sweep.job(trial.number) / ".hydra" / "hydra.yaml").hydra
        assert (hydra.job.num, hydra.job.id) == (trial.number, str(trial.number))
        config = OmegaConf.load(sweep.job(trial.number) / ".hydra" / "config.yaml")
        assert config.distill.temperature == trial.params["distill.temperature"]
        assert config.trial == trial.number


def test_mlflow_has_one_parent_five_students_a_teacher_and_a_baseline(sweep: Sweep) -> None:
    runs = sweep.runs
    assert {role: len(found) for role, found in runs.items()} == {
        "sweep": 1,
        "teacher": 1,
        "baseline": 1,
        "student": 5,
    }
    (parent,) = runs.pop("sweep")
    children = [run for found in runs.values() for run in found]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    artefacts = (sweep.folder / "mlruns" / "artifacts").as_posix()
    assert all(artefacts in run.info.artifact_uri for run in children)


def test_runs_have_flat_parameters_and_tags_to_filter_by(sweep: Sweep) -> None:
    for temperature, run in zip(TEMPERATURES, sweep.runs["student"], strict=True):
        params, tags = run.data.params, run.data.tags
        assert float(params["distill.temperature"]) == temperature
        assert (params["distill.alpha"], params["train.epochs"]) == ("0.7", "2")
        assert params["distill.losses.hinton.weight"] == "1.0"
        assert tags["kdsweep.pair"] == "cifar_student->cifar_student"
        assert (tags["kdsweep.loss"], tags["kdsweep.seed"]) == ("hinton", "0")
        assert tags["kdsweep.device"]
        assert tags["kdsweep.git_revision"] == "none"
    assert sweep.runs["baseline"][0].data.tags["kdsweep.loss"] == "none"


def test_runs_have_a_curve_and_agree_with_study_and_record(sweep: Sweep) -> None:
    for trial, run in zip(sweep.trials, sweep.runs["student"], strict=True):
        record = sweep.record(trial.number)
        for metric in ("train_loss", "val_accuracy"):
            history = sweep.mlflow.get_metric_history(run.info.run_id, metric)
            assert {1, 2} <= {point.step for point in history}
        assert [trial.value] == record["values"]
        assert run.info.run_id == record["run_id"] == trial.user_attrs["mlflow_run_id"]
        assert run.data.metrics["val_accuracy"] == pytest.approx(trial.value, rel=1e-6)
        baseline = sweep.runs["baseline"][0].data.metrics
        gain = run.data.metrics["val_accuracy"] - baseline["val_accuracy"]
        assert run.data.metrics["delta"] == pytest.approx(gain, abs=1e-4)
        assert run.data.tags["kdsweep.verdict"] == "none", "one seed shows no spread"
        assert run.data.metrics["parameters"] == baseline["parameters"]


def test_no_metric_is_of_test(sweep: Sweep) -> None:
    named = {name for found in sweep.runs.values() for run in found for name in run.data.metrics}
    assert "val_accuracy" in named
    assert not [name for name in named if name.startswith("test_")]


def artefacts(client: MlflowClient, run: str, folder: str | None = None) -> set[str]:
    paths: set[str] = set()
    for item in client.list_artifacts(run, folder):
        paths |= artefacts(client, run, item.path) if item.is_dir else {item.path}
    return paths


def test_runs_have_their_files_and_their_dataset(sweep: Sweep, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for run in sweep.runs["student"]:
        there = artefacts(sweep.mlflow, run.info.run_id)
        weights = "checkpoint/student-seed0.safetensors"
        assert {weights, "config.yaml", "result.json"} <= there
        local = sweep.mlflow.download_artifacts(run.info.run_id, weights, str(tmp_path))
        state = {k: v for k, v in load_file(local).items() if "running" not in k}
        trained = sum(v.numel() for k, v in state.items() if "num_batches" not in k)
        assert trained == run.data.metrics["parameters"]
    for role in ("teacher", "baseline"):
        (run,) = sweep.runs[role]
        there = artefacts(sweep.mlflow, run.info.run_id)
        assert {"checkpoint/model.safetensors", "config.yaml"} <= there
    for run in [run for role, found in sweep.runs.items() if role != "sweep" for run in found]:
        assert run.inputs is not None
        used = [one.dataset for one in run.inputs.dataset_inputs]
        assert [one.name for one in used] == ["digits train", "digits val"]
        assert all(one.digest for one in used)


def test_a_run_has_its_resolved_config(sweep: Sweep, tmp_path: Path) -> None:
    for run in sweep.runs["student"]:
        path = sweep.mlflow.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
        text = Path(path).read_text()
        assert "${" not in text
        temperature = OmegaConf.create(text).distill.temperature
        assert str(temperature) == run.data.params["distill.temperature"]


def test_the_parent_run_says_what_was_searched_and_what_was_not(sweep: Sweep) -> None:
    (parent,) = sweep.runs["sweep"]
    searched = ",".join(map(str, TEMPERATURES))
    assert parent.data.params["search.distill.temperature"] == searched
    assert parent.data.params["data.name"] == "digits"
    assert "distill.temperature" not in parent.data.params


def test_the_parent_run_says_what_was_found_on_which_machine(sweep: Sweep) -> None:
    (parent,) = sweep.runs["sweep"]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("**No verdict: one seed shows no spread")
    assert "| cell | delta | verdict | n |" in note
    assert parent.data.metrics["trials_complete"] == 5
    assert 0 <= parent.data.metrics["system/cpu_utilization_percentage"] <= 100
    assert parent.inputs is not None
    assert len(parent.inputs.dataset_inputs) == 2
    assert parent.info.end_time == max(
        run.info.end_time for found in sweep.runs.values() for run in found if run != parent
    )


def test_which_images_are_right_is_kept(sweep: Sweep) -> None:
    for trial in sweep.trials:
        kept = (sweep.job(trial.number) / "correct-seed0.bits").read_bytes()
        right = unpack_correctness(kept)
        assert len(right) == 288
        assert 100 * right.mean() == pytest.approx(trial.value)


def test_all_is_under_one_root(sweep: Sweep) -> None:
    assert [path.name for path in sweep.folder.iterdir()] == ["mlruns"]
    assert not list(sweep.folder.rglob("*.partial"))


def test_the_printed_export_works(sweep: Sweep, command: Command) -> None:
    out = command(f"study={sweep.study}", cwd=sweep.folder, module="kdsweep.export")
    assert out.status == 0, out.err
    exported = sweep.folder / "mlruns" / "exports" / sweep.study
    study = optuna.load_study(study_name=sweep.study, storage=f"sqlite:///{exported}/study.db")
    assert [t.values for t in study.trials] == [t.values for t in sweep.trials]


def test_a_rerun_finds_all_of_it_done(sweep: Sweep, command: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in sweep.folder.rglob("*.safetensors")}
    runs = sorted(run.info.run_id for found in sweep.runs.values() for run in found)
    again = command("-m", SMOKE, "distill.temperature=1,2,3,4,5", cwd=sweep.folder)
    assert again.status == 0, again.err
    assert "all 5 trials are finished" in again.out
    assert "epoch 1/" not in again.out
    assert before == {p: p.stat().st_mtime_ns for p in sweep.folder.rglob("*.safetensors")}
    assert runs == sorted(run.info.run_id for found in sweep.runs.values() for run in found)
    assert len(sweep.trials) == 5
    rows = re.compile(r"^temperature=.*$", re.MULTILINE)
    assert rows.findall(again.out) == rows.findall(sweep.ended.out)


def test_one_more_temperature_is_another_study(sweep: Sweep, command: Command) -> None:
    arguments = ("hydra/launcher=basic", "distill.temperature=2,6")
    other = Sweep(sweep.folder, command("-m", SMOKE, *arguments, cwd=sweep.folder))
    assert other.ended.status == 0, other.ended.err
    assert other.study != sweep.study
    assert [t.params["distill.temperature"] for t in other.trials] == [2, 6]
    assert {role: len(found) for role, found in other.runs.items()} == {
        "sweep": 1,
        "teacher": 1,
        "baseline": 1,
        "student": 2,
    }
    (teacher,) = other.runs["teacher"]
    assert teacher.data.tags["kdsweep.found"] == "true"
    assert "teacher: cifar_student found" in other.ended.out


def test_a_single_experiment(sweep: Sweep, command: Command) -> None:
    alone = command(SMOKE, "distill.temperature=4", cwd=sweep.folder)
    assert (alone.status, alone.err) == (0, "")
    assert "teacher: cifar_student found" in alone.out
    assert re.search(r"^baseline cifar_student .*\d\.\d\d", alone.out, re.MULTILINE)
    (record,) = (sweep.folder / "mlruns" / "hydra" / "runs").rglob("result.json")
    loaded = json.loads(record.read_text())
    assert (loaded["state"], loaded["trial"], loaded["study"]) == ("complete", None, None)
    run = sweep.mlflow.get_run(loaded["run_id"])
    assert run.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in run.data.tags
    assert len(sweep.trials) == 5


def test_the_official_sweeper(sweep: Sweep, command: Command) -> None:
    arguments = ("hydra/sweeper=optuna", "search=tpe", "study=official")
    numbers = ("hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3")
    ended = command("-m", SMOKE, *arguments, *numbers, cwd=sweep.folder)
    assert ended.status == 0, ended.err
    official = Sweep(sweep.folder, ended)
    assert official.study == "official"
    assert [trial.state.name for trial in official.trials] == ["COMPLETE"] * 3
    for trial in official.trials:
        assert 1 <= trial.params["distill.temperature"] <= 5
        assert 0.1 <= trial.params["distill.alpha"] <= 0.9
    assert len(official.runs["student"]) == 3
    assert len(official.runs["sweep"]) == 1


@pytest.mark.parametrize("launcher", ["fused", "basic", "joblib", "submitit_local"])
def test_the_official_sweeper_starts_in_an_empty_folder(
    launcher: str, command: Command, tmp_path: Path
) -> None:
    arguments = ("hydra/sweeper=optuna", f"hydra/launcher={launcher}", "tracking=none")
    space = ("distill.temperature=interval(1,5)", "hydra.sweeper.n_trials=2")
    ended = command("-m", SMOKE, *arguments, *space, "hydra.sweeper.n_jobs=2", cwd=tmp_path)
    assert ended.status == 0, ended.err
    (name,) = optuna.get_all_study_names(f"sqlite:///{tmp_path}/mlruns/optuna.db")
    assert f"python -m kdsweep.export study={name}" in ended.out  # what is printed exists
    assert len(list((tmp_path / "mlruns/hydra/studies" / name).glob("*/result.json"))) == 2


def test_a_study_in_postgresql(sweep: Sweep, command: Command, postgres: str) -> None:
    arguments = (f"storage={postgres}", "study=shared", "distill.temperature=2,4")
    ended = command("-m", SMOKE, *arguments, cwd=sweep.folder)
    assert (ended.status, ended.err) == (0, "")
    try:
        trials = optuna.load_study(study_name="shared", storage=postgres).trials
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
        assert [trial.params["distill.temperature"] for trial in trials] == [2, 4]
    finally:
        optuna.delete_study(study_name="shared", storage=postgres)


def test_the_printed_address_shows_the_five_runs_side_by_side(
    sweep: Sweep, chromium: str, tmp_path: Path
) -> None:
    ui = next(line for line in sweep.ended.out.splitlines() if "mlflow ui" in line)
    address = next(line for line in sweep.ended.out.splitlines() if "/#/compare-runs?" in line)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = subprocess.Popen(
        [*shlex.split(ui), "--port", port],
        cwd=sweep.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        page = subprocess.run(
            [
                chromium,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", f"--user-data-dir={tmp_path}"),
                *("--virtual-time-budget=60000", "--timeout=60000", "--dump-dom"),
                address.split()[-1].replace(":5000/", f":{port}/"),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert "Comparing 6 Runs" in page, "and the baseline"
    for run in sweep.runs["student"]:
        assert run.info.run_name in page


def wait_for(address: str) -> None:
    """Until a server answers."""
    for _ in range(1500):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{address} does not answer")
