"""Commands that schedulers stop, and commands that go on: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from mlflow.entities import Run
from optuna.trial import TrialState

from tests.conftest import REPOSITORY, Sweep

SMALL = ("experiment=smoke", "data.train_limit=64", "teacher.epochs=60")
LONG = "train.epochs=400"
ONE = ("train.fuse=loop", "train.threads=1")
REASON = "kdsweep.reason"


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them run: they find each other's teacher."""
    return tmp_path_factory.mktemp("stopping")


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of a group of its own, which does not outlive a test."""
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    plain = {signal.SIGINT: signal.default_int_handler}  # what is ignored here is ignored there
    before = {s: signal.signal(s, plain.get(s, signal.SIG_DFL)) for s in stops}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for signum, handler in before.items():
        signal.signal(signum, handler)
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[str], *beginnings: str) -> list[str]:
    """Read until a line begins so; all lines."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(beginnings):
            return lines
    raise AssertionError("".join(lines))


def ended(process: subprocess.Popen[str]) -> str:
    """The rest of what it prints."""
    return process.communicate(timeout=300)[0]


def sweeping(study: str, *more: str) -> Sequence[str]:
    return ("-m", "kdsweep", "-m", *SMALL, f"study={study}", "distill.temperature=1,2,3", *more)


def trials(folder: Path, study: str) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{folder}/mlruns/optuna.db"
    return optuna.load_study(study_name=study, storage=storage).get_trials()


def runs(folder: Path, study: str | None = None) -> list[Run]:
    """Those of a study, or those of none."""
    mlflow = Sweep(folder, None).mlflow
    experiment = mlflow.get_experiment_by_name("kdsweep")
    assert experiment is not None
    found = mlflow.search_runs([experiment.experiment_id], max_results=1000)
    return [run for run in found if run.data.tags.get("kdsweep.study") == study]


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "mlruns/store/checkpoint").glob("*/*/[01]/meta.json"))


@pytest.mark.parametrize(
    ("signum", "execution"),
    [
        (signal.SIGTERM, ONE),
        (signal.SIGTERM, ("train.fuse=workers", "train.threads=2")),
        (signal.SIGHUP, ONE),
        (signal.SIGUSR1, ONE),
    ],
)
def test_a_stopped_sweep_gives_all_back(
    folder: Path, signum: signal.Signals, execution: Sequence[str]
) -> None:
    study = f"{signum.name}-{execution[0].partition('=')[2]}"
    with started(folder, *sweeping(study, LONG, *execution)) as process:
        wait_for(process, "student ")
        os.killpg(process.pid, signum)  # as schedulers do: all at once
        said = ended(process)
    assert process.returncode == 128 + signum, said
    reason = f"stopped by {signum.name}"
    assert f"kdsweep: {reason}" in said
    assert f"the same command continues study {study}" in said
    assert "Traceback" not in said
    left = trials(folder, study)
    assert [trial.state for trial in left] == [TrialState.FAIL] * 3
    assert {trial.user_attrs["kdsweep:reason"] for trial in left} == {reason}
    assert not any("kdsweep:final" in trial.user_attrs for trial in left)
    mine = runs(folder, study)
    assert not [run for run in mine if run.info.status == "RUNNING"]
    stopped = [run for run in mine if run.info.status == "KILLED"]
    assert len(stopped) == 4  # the sweep and its trials
    assert {run.data.tags[REASON] for run in stopped} == {reason}


@pytest.fixture(scope="module", name="whole")
def _whole(folder: Path) -> list[float]:
    """The values of a study that was not interrupted."""
    with started(folder, *sweeping("whole", "train.epochs=40", *ONE)) as process:
        said = ended(process)
    assert process.returncode == 0, said
    return [trial.value or 0.0 for trial in trials(folder, "whole")]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_was_stopped_goes_on_from_its_checkpoint(
    folder: Path, whole: list[float], signum: signal.Signals
) -> None:
    study = f"resumed-{signum.name}"
    command = sweeping(study, "train.epochs=40", "train.checkpoint_every=1", *ONE)
    with started(folder, *command) as process:
        assert process.stdout is not None
        wait_for(process, "study ")
        while not checkpoints(folder):
            assert process.poll() is None
        os.killpg(process.pid, signum)
        ended(process)
    assert len(checkpoints(folder)) == 1
    with started(folder, *command) as process:
        said = ended(process)
    assert process.returncode == 0, said
    assert "of 40 epochs are done, by a checkpoint" in said
    assert checkpoints(folder) == []
    finished = [t for t in trials(folder, study) if t.state == TrialState.COMPLETE]
    assert [trial.value for trial in finished] == whole
    mlflow = Sweep(folder, None).mlflow
    students = [run for run in runs(folder, study) if run.data.tags.get("kdsweep.trial")]
    assert sorted(run.info.status for run in students) == ["FINISHED"] * 3 + ["KILLED"] * 3
    for trial in finished:
        logged = mlflow.get_metric_history(trial.user_attrs["mlflow_run_id"], "train_loss")
        assert [metric.step for metric in logged] == list(range(1, 41))


def test_a_stopped_experiment_closes_its_run_and_goes_on(folder: Path) -> None:
    command = ("-m", "kdsweep", *SMALL, "train.epochs=40", "seed=7", *ONE)
    with started(folder, *command, "train.checkpoint_every=1") as process:
        while not checkpoints(folder):
            assert process.poll() is None
        process.terminate()
        said = ended(process)
    assert process.returncode == 143, said
    assert "kdsweep: stopped by SIGTERM" in said
    own = [run for run in runs(folder) if run.data.tags.get("kdsweep.seed") == "7"]
    assert [(run.info.status, run.data.tags[REASON]) for run in own] == [
        ("KILLED", "stopped by SIGTERM")
    ]
    with started(folder, *command) as process:
        said = ended(process)
    assert process.returncode == 0, said
    assert "of 40 epochs are done, by a checkpoint" in said


def test_a_stopped_confirmation_closes_its_runs(folder: Path, whole: list[float]) -> None:
    assert whole
    command = ("-m", "kdsweep.confirm", "study=whole", "top=1", "seeds=20")
    with started(folder, *command) as process:
        wait_for(process, "baseline ", "student ")
        process.terminate()
        said = ended(process)
    assert process.returncode == 143, said
    mine = runs(folder, "whole-confirmation-1")
    assert not [run for run in mine if run.info.status == "RUNNING"]
    (parent,) = [run for run in mine if run.data.tags["kdsweep.kind"] == "sweep"]
    assert (parent.info.status, parent.data.tags[REASON]) == ("KILLED", "stopped by SIGTERM")


def test_a_stopped_program_puts_all_in_order_first(folder: Path) -> None:
    code = (
        "import kdsweep\n"
        "kdsweep.sweep({'distill.temperature': [1, 2]}, study='program',\n"
        f"    overrides={[*SMALL, LONG, *ONE]!r})\n"
    )
    with started(folder, "-c", code) as process:
        wait_for(process, "student ")
        process.terminate()
        said = ended(process)
    assert process.returncode == -signal.SIGTERM, said
    assert {trial.user_attrs["kdsweep:reason"] for trial in trials(folder, "program")} == {
        "stopped by SIGTERM"
    }
    assert not [run for run in runs(folder, "program") if run.info.status == "RUNNING"]
