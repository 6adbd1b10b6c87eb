"""The benchmarks run, by the real command, and write down what they print."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from kdsweep.bench.memory import mib_per_member
from kdsweep.bench.run import main
from kdsweep.errors import UserError
from tests.conftest import Command

BENCH = "kdsweep.bench"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 pictures of noise, in two classes."""
    folder = tmp_path_factory.mktemp("images")
    draw = torch.Generator().manual_seed(0)
    for split, count in (("train", 500), ("test", 100)):
        for name, shift in (("dark", 0), ("light", 100)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(0, 156, (32, 32, 3), generator=draw) + shift
                picture = Image.fromarray(pixels.to(torch.uint8).numpy())
                picture.save(folder / split / name / f"{i}.png")
    return folder


def test_time(images: Path, command: Command, tmp_path: Path) -> None:
    ended = command(
        f"images={images}", "members=1,3", "steps=2", "rounds=1", cwd=tmp_path, module=BENCH
    )
    assert (ended.status, ended.err) == (0, "")
    written = json.loads((tmp_path / "mlruns/bench/bench.json").read_text())
    assert set(written["seconds_per_student_step"]) == {
        "plain", "kdsweep auto N=1", "kdsweep auto N=3"
    }  # fmt: skip
    assert all(min(v) > 0 for v in written["seconds_per_student_step"].values())
    assert written["peak_flops"]["float32"] > 1e9
    assert set(written["memory_gib"]) == {"1", "3"}
    assert (tmp_path / "mlruns/bench/bench.md").read_text() in ended.out


def test_memory_of_a_member() -> None:
    assert mib_per_member({"1": 1.0, "3": 1.5, "5": 3.0}) == 512
    assert math.isnan(mib_per_member({"5": 3.0}))


def test_accuracy(images: Path, command: Command, tmp_path: Path) -> None:
    ended = command(
        f"images={images}", "accuracy=3", "limit=256", "seeds=0,1", cwd=tmp_path, module=BENCH
    )
    assert (ended.status, ended.err) == (0, "")
    written = json.loads((tmp_path / "mlruns/bench/accuracy.json").read_text())
    for name in (
        "plain",
        "kdsweep",
    ):
        assert len(written[name]) == 2
        assert all(value >= 90 for value in written[name])  # dark or light: nothing to miss
    assert "| plain loop |" in ended.out


def test_methods(images: Path, command: Command, tmp_path: Path) -> None:
    ended = command(
        f"images={images}", "methods=fitnet,ensemble", "steps=2", "rounds=1",
        cwd=tmp_path, module=BENCH,
    )  # fmt: skip
    assert (ended.status, ended.err) == (0, "")
    written = json.loads((tmp_path / "mlruns/bench/methods.json").read_text())
    assert list(written["seconds_per_epoch"]) == ["hinton", "fitnet", "ensemble"]
    assert all(len(v) == 1 for v in written["seconds_per_epoch"].values())
    assert all(min(v) > 0.1 for v in written["memory_gib"].values())
    assert "| hinton |" in ended.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "images=: name a folder"),
        (["images=nowhere"], "nowhere"),
        (["images=x", "steps=many"], "steps=many: allowed are whole numbers from 1 up"),
        (["images=x", "rounds=1,2"], "rounds=1,2: allowed is one whole number"),
        (["images=x", "members=0"], "members=0: allowed are whole numbers from 1 up"),
        (["images=x", "methods=hinten"], "methods=hinten: allowed is all, or any of"),
        (["images=x", "fuse=vmap"], "train.fuse=vmap: allowed is one of"),
    ],
)
def test_a_bad_request_is_one_line(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
