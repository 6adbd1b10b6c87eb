"""What Slurm is asked and told, with its commands played."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kdsweep.config import EngineConfig
from kdsweep.engines.queue import Slurm, _executor
from kdsweep.errors import UserError


@pytest.fixture(autouse=True)
def _srun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def script(folder: Path, **engine: Any) -> set[str]:
    """The lines of what sbatch is given."""
    made = _executor(EngineConfig(name="slurm", **engine), folder)
    text = made._make_submission_file_text("train", "id")
    return {line.strip() for line in text.splitlines()}


def test_a_job_asks_for_what_the_configuration_says(tmp_path: Path) -> None:
    lines = script(
        tmp_path, partition="short", gpus=1, cpus=4, memory=1.5, time=30, signal_delay=45,
        setup=["module load cuda"], sbatch={"account": "me"},
    )  # fmt: skip
    assert lines >= {
        "#SBATCH --partition=short", "#SBATCH --gres=gpu:1", "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=1536MB", "#SBATCH --time=30", "#SBATCH --signal=USR2@45",
        "#SBATCH --requeue", "#SBATCH --account=me", "module load cuda",
    }  # fmt: skip


def test_what_is_not_set_is_left_to_slurm(tmp_path: Path) -> None:
    lines = " ".join(script(tmp_path))
    assert not any(option in lines for option in ("--partition", "--gres", "--mem"))
    assert "--gres=gpu:a100:1" in " ".join(script(tmp_path, gres="gpu:a100:1", gpus=1))


def test_no_srun_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"^engine=slurm: there is no srun here; start the"):
        Slurm(EngineConfig(name="slurm"), tmp_path)


def test_the_queue_is_asked_now_and_then(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        if len(asked) == 3:
            raise subprocess.CalledProcessError(1, command)
        return "12_0\n12_1\n13\n"

    queue = Slurm(EngineConfig(name="slurm"), tmp_path, run, seconds=1000)
    listing = queue.look()
    assert listing.jobs == {"12_0", "12_1", "13"}
    assert queue.look() is listing
    assert queue.look(fresh=True).number == 2
    assert len(asked) == 2
    assert not listing.has("12_2")
    assert not listing.has(None)
    unknown = queue.look(fresh=True)
    assert unknown.has("12_2")  # nobody is given up for a controller that is away


def test_what_sbatch_refuses_is_one_line(tmp_path: Path) -> None:
    queue = Slurm(EngineConfig(name="slurm"), tmp_path)
    with pytest.raises(UserError, match=r"^engine=slurm: sbatch takes no such job: "):
        queue.submit([tmp_path / "part"])
