"""What becomes of a package that can't be written, or that does not answer as in training."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kdsweep.errors import KdsweepError, UserError
from kdsweep.package import __main__ as command
from kdsweep.package import parity
from kdsweep.package.build import prepare, write_package
from kdsweep.package.formats import FORMATS, Format, formats_of
from tests.package.made import MadeStudy

SAFETENSORS = (FORMATS["safetensors"],)


@pytest.fixture
def root(study: MadeStudy, tmp_path: Path) -> Path:
    """A copy of the study, which a test may change."""
    shutil.copytree(study.root, tmp_path / "mlruns", ignore=shutil.ignore_patterns("packages"))
    return tmp_path / "mlruns"


def build(root: Path, formats: Sequence[Format] = SAFETENSORS, cell: str = "best") -> Path:
    out = root / "packages" / "s"
    write_package(prepare("s", root=root, cell=cell, seed="best"), out, formats)
    return out


def test_weights_that_are_others_than_in_training_are_found_out(root: Path) -> None:
    folder = root / "hydra" / "studies" / "s" / "1"
    shutil.copy(folder / "student-seed1.safetensors", folder / "student-seed0.safetensors")
    with pytest.raises(KdsweepError, match=r"^\d+ of 575 images are answered otherwise than in"):
        build(root)
    assert list((root / "packages").iterdir()) == []


def test_images_that_are_others_than_in_training_are_found_out(root: Path) -> None:
    path = root / "hydra" / "studies" / "s" / "1" / "result.json"
    path.write_text(path.read_text().replace('"val_fraction": 0.4', '"val_fraction": 0.3'))
    with pytest.raises(KdsweepError, match=r"^there are 431 images where 575 were evaluated"):
        build(root)


def test_a_file_that_answers_otherwise_is_not_left(root: Path) -> None:
    good = FORMATS["safetensors"]

    def write(path: Path, classifier: object, manifest: object) -> None:
        from kdsweep.package.classifier import Classifier
        from kdsweep.package.manifest import Manifest

        assert isinstance(classifier, Classifier)
        assert isinstance(manifest, Manifest)
        good.write(path, classifier, dataclasses.replace(manifest, std=(0.5, 0.25, 0.31)))

    with pytest.raises(KdsweepError, match=r"^model\.safetensors: its logits differ from PyTorch"):
        build(root, [dataclasses.replace(good, write=write)])
    assert list((root / "packages").iterdir()) == []


def test_an_exporter_that_fails_ends_in_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator: sort\nand a long trace")

    monkeypatch.setattr("torch.onnx.export", fail)
    with pytest.raises(
        KdsweepError,
        match=r"cifar_student can't be written as onnx \(no such operator: sort\); leave it out: "
        r"formats=safetensors,export$",
    ):
        build(root, [FORMATS["onnx"]])
    assert list((root / "packages").iterdir()) == []


def test_without_the_images_random_ones_are_compared(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "hydra" / "studies" / "s" / "1" / "result.json"
    path.write_text(
        path.read_text()
        .replace('"name": "digits"', '"name": "imagefolder"')
        .replace('"root": null', '"root": "/gone"', 1)
    )
    out = build(root)
    said = capsys.readouterr().out
    assert "Not compared with training, since its images can't be had: data.root=/gone" in said
    assert "Equal logits, up to rounding, on 33 images" in said
    card = (out / "README.md").read_text()
    assert "Not compared with training" in card
    assert "sample" not in card
    assert "imagefolder gone" in (out / "README.md").read_text()


def test_a_baseline_is_compared_with_its_answers(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(root, cell="baseline")
    said = capsys.readouterr().out
    assert "575 of 575 validation images answered as in training." in said
    assert "not shown to help" not in said


def test_a_student_that_was_found_worse_says_so_in_one_line_and_on_its_card(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = prepare("s", root=root, cell="best", seed="best")
    out, warning = root / "packages" / "s", "this student was found WORSE than the same"
    manifest = dataclasses.replace(prepared.manifest, warning=warning)
    write_package(dataclasses.replace(prepared, manifest=manifest), out, SAFETENSORS)
    said = capsys.readouterr().out
    assert said.splitlines()[-4] == f"WARNING: {warning}."
    assert "not shown to help" not in said
    card = (out / "README.md").read_text().splitlines()
    head = next(n for n, line in enumerate(card) if line.startswith("# cifar_student"))
    assert card[head + 2] == f"> **Warning:** {warning}."


def test_a_package_is_replaced_and_nothing_else(root: Path) -> None:
    out = build(root)
    (out / "old").touch()
    assert build(root) == out
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "model.json",
        "model.safetensors",
        "sample.png",
    }
    assert [path.name for path in out.parent.iterdir()] == ["s"]
    (out / "model.json").unlink()
    with pytest.raises(UserError, match=r"^out=.*/packages/s: is there, and is no package"):
        build(root)
    assert (out / "README.md").is_file()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "formats=safetensors,tflite",
            r"^formats=.*: tflite is none; allowed are safetensors, onnx",
        ),
        ("formats=", r"^formats=: an empty name is none"),
        ("register=a/b", r"^register=a/b: allowed is a name without / and :$"),
        ("register=a formats=safetensors", r"^register=a formats=safetensors: what is served is"),
        ("register=a", r"^register=: the study was swept with tracking=none; name a store"),
        ("study=t", r"^study=t: no records in"),
        ("out=mlruns/optuna.db/x formats=safetensors", r"^can't write in mlruns/optuna.db/x: "),
        ("cel=1", r"^cel=1: allowed are .*did you mean cell="),
    ],
)
def test_bad_input_ends_in_one_line_and_nothing_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch, given: str, line: str
) -> None:
    (root / "optuna.db").touch()
    monkeypatch.chdir(root.parent)
    with pytest.raises(UserError, match=line):
        command.main(["study=s", *given.split()])
    assert not (root / "packages").exists()
    assert not (root / "mlflow.db").exists()


def test_without_the_libraries_of_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    with pytest.raises(
        UserError,
        match=r'onnx needs onnxscript; python -m pip install "kdsweep\[onnx\]", or leave it out: '
        r"formats=safetensors,export$",
    ):
        formats_of("safetensors,onnx,export")
    assert [one.name for one in formats_of("export,safetensors,export")] == [
        "export",
        "safetensors",
    ]


LOGITS = np.array([[4.0, 0.0], [0.0, 4.0], [2.001, 2.0]], dtype=np.float32)
RIGHT = np.array([True, True, False])


def test_an_image_between_two_classes_may_fall_on_either_side() -> None:
    labels = np.array([0, 1, 0])
    line = parity.check_training(LOGITS, RIGHT, labels, precision="float32")
    assert line == "2 of 3 (the others lie between two classes, within the rounding of float32)"
    all_right = parity.check_training(LOGITS, np.ones(3, dtype=bool), labels, precision="float32")
    assert all_right == "3 of 3"


def test_what_rounding_can_be_depends_on_the_precision() -> None:
    logits = LOGITS + np.array([[0, 0], [0, 0], [0.1, 0]], dtype=np.float32)
    labels = np.array([0, 1, 0])
    with pytest.raises(KdsweepError, match=r"^1 of 3 images are answered otherwise"):
        parity.check_training(logits, RIGHT, labels, precision="float32")
    assert parity.check_training(logits, RIGHT, labels, precision="bf16").startswith("2 of 3")


@pytest.mark.parametrize("wrong", [np.nan, 0.1])
def test_a_file_has_to_give_the_same_logits(wrong: float) -> None:
    images = np.zeros((3, 3, 8, 8), dtype=np.uint8)
    parity.check_file("f", lambda given: LOGITS[: len(given)], images, LOGITS)
    with pytest.raises(KdsweepError, match=r"^f: its logits differ"):
        parity.check_file("f", lambda given: LOGITS[: len(given)] + wrong, images, LOGITS)
