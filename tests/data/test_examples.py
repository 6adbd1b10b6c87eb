"""The examples of docs/ are run as they say, by a command of its own."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.conftest import Command

SMOKE = ("experiment=smoke", "train.threads=1", "tracking=none")


@pytest.fixture(scope="module")
def examples(repository: Path) -> Path:
    return repository / "docs" / "examples"


def record(folder: Path) -> dict[str, Any]:
    (found,) = folder.rglob("result.json")
    loaded: dict[str, Any] = json.loads(found.read_text())
    return loaded


def test_arrays(examples: Path, command: Command, tmp_path: Path) -> None:
    program = [sys.executable, str(examples / "arrays.py"), "digits.npz"]
    subprocess.run(program, cwd=tmp_path, check=True)
    asked = ("data=arrays", "data.root=digits.npz", "data.image_size=16", "data.val_fraction=0.3")
    ended = command(*SMOKE, *asked, cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "arrays digits.npz" in ended.out
    assert record(tmp_path)["images"] == round(0.3 * (1797 - round(0.2 * 1797)))


def test_a_registered_dataset(examples: Path, command: Command, tmp_path: Path) -> None:
    digits, folder = load_digits(), tmp_path / "pictures"
    folder.mkdir()
    with (folder / "labels.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(["file", "class", "split"])
        for i, (grey, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            Image.fromarray(np.rint(grey * 15).astype(np.uint8)).save(folder / f"{i}.png")
            split = "test" if i % 5 == 0 else "val" if i % 5 == 1 else "train"
            table.writerow([f"{i}.png", f"digit {label}", split])
    asked = (
        f"plugins=['{examples / 'labelled.py'}']", "data=registered", "data.name=labelled",
        "data.root=pictures", "data.image_size=16", "data.options.skip=['digit 9']",
    )  # fmt: skip
    sweep = (*SMOKE, *asked, "-m", "distill.temperature=1,2", "study=s")
    ended = command(*sweep, cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "registered labelled" in ended.out
    kept = sum(1 for i, label in enumerate(digits.target) if i % 5 == 1 and label != 9)
    made = json.loads(next(tmp_path.rglob("0/result.json")).read_text())
    assert made["images"] == kept
    again = command(*sweep, cwd=tmp_path)
    assert "epoch 1/" not in again.out  # found finished: the pictures are the same
    confirmed = command(
        "study=s", "top=1", "seeds=3", module="kdsweep.confirm", cwd=tmp_path
    )  # the study knows the plugin, and where the pictures are
    assert confirmed.status == 0, confirmed.err
    tested = sum(1 for i, label in enumerate(digits.target) if i % 5 == 0 and label != 9)
    assert f"On these {tested} test images" in confirmed.out


def test_examples_are_short_and_name_their_command(examples: Path) -> None:
    for path in examples.glob("*.py"):
        text = path.read_text()
        code = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
        assert len([line for line in code.splitlines() if line.strip()]) < 30
        assert "python -m kdsweep" in text or "plugins=[" in text


def test_a_study_without_test_images_is_not_confirmed(command: Command, tmp_path: Path) -> None:
    digits = load_digits()
    images, labels = np.rint(digits.images * 15).astype(np.uint8), digits.target
    np.savez(
        tmp_path / "a.npz", x_train=images[:900], y_train=labels[:900],
        x_val=images[900:], y_val=labels[900:],
    )  # fmt: skip
    asked = ("data=arrays", "data.root=a.npz", "data.image_size=16", "study=s", "seeds=2")
    ended = command(*SMOKE, *asked, "-m", "distill.temperature=1", "rounds=1", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    refused = command("study=s", cwd=tmp_path, module="kdsweep.confirm")
    assert refused.status == 2
    assert re.fullmatch(
        r"kdsweep: data\.root=a\.npz: has no test images, and a confirmation is judged on them: .*"
        r"data\.test_fraction, in a new study, whose networks have not seen them\n",
        refused.err,
    )
    assert not (tmp_path / "mlruns" / "confirmations").exists()
