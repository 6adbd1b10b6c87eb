"""A package by the real command: its files, what they say, and that they answer as in training."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from kdsweep.data import normalise
from kdsweep.package.build import prepare
from kdsweep.package.classifier import read_student
from kdsweep.package.formats import FORMATS, open_model
from kdsweep.package.manifest import Manifest
from tests.conftest import Command, Ended
from tests.package.made import SEEDS, MadeStudy

FILES = {
    "README.md", "model.json", "model.onnx", "model.pt2", "model.safetensors", "predict.py",
    "sample.png",
}  # fmt: skip


def manifest_of(package: Path) -> Manifest:
    return Manifest.from_json(json.loads((package / "model.json").read_text()))


def test_the_command_says_what_is_shipped_and_why(
    study: MadeStudy, packaged: Ended, package: Path
) -> None:
    accuracies = [study.records[1].seeds[seed].metrics["val_accuracy"] for seed in SEEDS]
    mean, sd = np.mean(accuracies), np.std(accuracies, ddof=1)
    lines = packaged.out.splitlines()
    assert lines[0].endswith("study s, trial 1, seed 0")
    assert lines[1].startswith("The cell: the best mean of 2 cells on validation")
    assert lines[2].startswith("Seed 0: the best of 3 seeds on validation, so its own accuracy")
    assert f"Expect {mean:.2f} ± {sd:.2f} % of 575 validation images (n = 3);" in lines[3]
    assert f"these weights have {max(accuracies):.2f} %" in lines[3]
    assert "575 of 575 validation images answered as in training." in lines
    assert any("cell=baseline" in line for line in lines)
    assert any("python -m kdsweep.confirm study=s" in line for line in lines)
    assert lines[-1].endswith(
        "kdsweep.predict model=mlruns/packages/s mlruns/packages/s/sample.png"
    )
    assert lines[-2].startswith("One validation image is in it; its answer is sample.png: ")


def test_the_folder_holds_the_package_and_nothing_is_left_beside_it(package: Path) -> None:
    assert {path.name for path in package.iterdir()} == FILES
    assert [path.name for path in package.parent.iterdir()] == ["s"]


def test_the_manifest_is_of_the_record(study: MadeStudy, package: Path) -> None:
    manifest, record = manifest_of(package), study.records[1]
    assert (manifest.study, manifest.trial, manifest.seed) == ("s", 1, 0)
    assert (manifest.architecture, manifest.width) == ("cifar_student", 0.25)
    assert manifest.classes == tuple("0123456789")
    assert (manifest.image_size, manifest.mean, manifest.std) == (
        8,
        (0.2, 0.3, 0.4),
        (0.5, 0.25, 0.3),
    )
    assert manifest.accuracy == pytest.approx(record.seeds[0].metrics["val_accuracy"])
    assert manifest.expected.n == 3
    assert manifest.alone is not None
    baselines = [one.metrics["val_accuracy"] for one in study.baselines]
    assert manifest.alone.mean == pytest.approx(np.mean(baselines))
    assert manifest.verdict is not None
    assert (manifest.verdict.n, manifest.verdict.cells, manifest.verdict.confirmed) == (
        3,
        2,
        False,
    )
    interval = f"[{manifest.verdict.low:+.2f}, {manifest.verdict.high:+.2f}]"
    assert interval in manifest.verdict_sentence
    assert "simultaneous over 2 cells" in manifest.verdict_sentence


@pytest.mark.parametrize("format_", FORMATS.values(), ids=lambda one: one.name)
def test_each_file_alone_says_all_and_answers_as_in_training(
    study: MadeStudy, package: Path, format_: object, tmp_path: Path
) -> None:
    from kdsweep.package.formats import Format

    assert isinstance(format_, Format)
    file = Path(shutil.copy(package / format_.file, tmp_path))
    opened = open_model(file)
    assert opened.manifest == manifest_of(package)
    images = study.dataset.host.val.images.numpy()
    labels = study.dataset.host.val.labels.numpy()
    logits = np.concatenate(
        [opened.logits(images[:1]), opened.logits(images[1:8]), opened.logits(images[8:])]
    )
    assert logits.dtype == np.float32
    accuracy = 100 * np.mean(logits.argmax(1) == labels)
    assert accuracy == pytest.approx(study.records[1].seeds[0].metrics["val_accuracy"])


def test_the_normalisation_inside_is_that_of_training(study: MadeStudy) -> None:
    prepared = prepare("s", root=study.root, cell="best", seed="best")
    classifier = read_student(prepared.choice.weights.file, prepared.manifest)
    images = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 3, 8, 8)
    seen: list[torch.Tensor] = []
    classifier.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    classifier(images)
    assert torch.equal(seen[0], normalise(images, study.config.data, dtype=torch.float32))


def test_the_safetensors_say_in_their_header_what_they_are(package: Path) -> None:
    from safetensors import safe_open

    with safe_open(package / "model.safetensors", framework="pt") as file:
        about = file.metadata()
    assert about["format"] == "pt"
    assert about["architecture"] == "cifar_student"
    assert json.loads(about["classes"]) == list("0123456789")
    assert json.loads(about["image_size"]) == 8
    assert (json.loads(about["seed"]), about["cell"]) == (0, "temperature=2")
    assert about["verdict_sentence"] == manifest_of(package).verdict_sentence


def test_the_card_says_what_to_expect_and_its_head_is_yaml(package: Path) -> None:
    card, manifest = (package / "README.md").read_text(), manifest_of(package)
    _, head, body = card.split("---\n", 2)
    about = yaml.safe_load(head)
    assert about["pipeline_tag"] == "image-classification"
    result = about["model-index"][0]["results"][0]
    assert result["dataset"]["name"] == "digits"
    assert result["metrics"][0]["value"] == pytest.approx(manifest.expected.mean, abs=0.005)
    assert "license" not in about
    for part in (
        manifest.verdict_sentence, str(manifest.expected), str(manifest.alone),
        manifest.cell_choice, manifest.seed_choice, "575 of 575 validation images",
        "Nothing was confirmed on test", "## Limits", "## Licence",
    ):  # fmt: skip
        assert part in body
    assert "None" not in body.replace("None is given here", "")


def test_a_sample_goes_with_it_and_its_answer_is_on_the_card(
    study: MadeStudy, package: Path, command: Command
) -> None:
    card = (package / "README.md").read_text()
    (block,) = re.findall(r"```\n(sample\.png: .*)\n```", card)
    for line in ("python -m kdsweep.predict model=. sample.png", "python predict.py sample.png"):
        assert line in card
    ended = command("model=.", "sample.png", cwd=package, module="kdsweep.predict")
    assert ended.out == f"{block}\n"
    script = subprocess.run(
        [sys.executable, "predict.py", "sample.png"],
        cwd=package, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert script.stdout == ended.out
    picture = np.asarray(Image.open(package / "sample.png")).transpose(2, 0, 1)
    val = study.dataset.host.val
    number = next(n for n, one in enumerate(val.images.numpy()) if np.array_equal(one, picture))
    label = int(val.labels[number])
    assert block.startswith(f"sample.png: {label} (")
    assert f"a validation image of class {label}, the first that this model has right" in card


def test_the_script_has_15_lines_and_needs_three_libraries(package: Path) -> None:
    text = (package / "predict.py").read_text()
    assert len(text.splitlines()) <= 15
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert modules - set(sys.stdlib_module_names) == {"onnxruntime", "numpy", "PIL"}


def test_the_script_and_the_command_see_the_same_in_odd_pictures(
    package: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from kdsweep import predict

    names = [str(path) for path in pictures]
    script = subprocess.run(
        [sys.executable, "-I", package / "predict.py", *names],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert script.stderr == ""
    predict.main([f"model={package / 'model.onnx'}", *names])
    assert script.stdout == capsys.readouterr().out
    assert len(script.stdout.splitlines()) == len(pictures)
    assert all(re.search(r": \d \(\d+\.\d%\)$", line) for line in script.stdout.splitlines())
