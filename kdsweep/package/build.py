"""A package: chosen, described, written beside its place, compared with training, renamed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdsweep.config import Config
from kdsweep.config.paths import moved
from kdsweep.config.typed import config_from_plain
from kdsweep.data import Split, load_dataset
from kdsweep.errors import UserError
from kdsweep.package import parity, sample
from kdsweep.package.candidates import BASELINE, Study, Weights, read_study
from kdsweep.package.choice import Choice, choose
from kdsweep.package.classifier import Classifier, Pixels, of_module, read_student
from kdsweep.package.describe import describe, model_card
from kdsweep.package.formats import Format
from kdsweep.package.manifest import Manifest
from kdsweep.package.sample import Sample, write_sample
from kdsweep.store import sync, writable

MANIFEST, CARD, SCRIPT = "model.json", "README.md", "predict.py"


class _Written(NamedTuple):
    """What was found when the files were compared, a sentence each; the picture among them."""

    checked: list[str]
    sample: Sample | None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What will be written, chosen and described."""

    study: Study
    choice: Choice
    config: Config
    manifest: Manifest


def prepare(name: str, *, root: Path, cell: str, seed: str) -> Prepared:
    """Choose a study's student.

    Raises:
        UserError: there is nothing to package as it was asked for.
    """
    study = read_study(name, root)
    choice = choose(study, cell=cell, seed=seed)
    config = config_from_plain(choice.candidate.record.config)
    manifest = describe(choice, config, study=name)
    if len(manifest.classes) < 2:
        raise UserError(f"study={name}: its records name no classes; sweep it again")
    return Prepared(study=study, choice=choice, config=config, manifest=manifest)


def write_package(prepared: Prepared, out: Path, formats: Sequence[Format]) -> None:
    """Write the package to ``out``, and print what is in it and why.

    Raises:
        UserError: ``out`` is something else, or can't be written.
        KdsweepError: a format can't be written, or does not answer as the network does.
    """
    refuse_foreign(out)
    study, choice, manifest = prepared.study, prepared.choice, prepared.manifest
    for line in _summary(choice, manifest):
        print(line)
    classifier = read_student(choice.weights.file, manifest)
    images = _evaluation_images(prepared.config, study.root)
    with _folder(out) as folder:
        written = _write(
            folder, classifier, manifest, choice.weights, formats, images, prepared.config
        )
        card = model_card(manifest, formats, checked=written.checked, sample=written.sample)
        (folder / CARD).write_text(card)
        _write_rest(folder, manifest, formats)
    for line in (*written.checked, *_advice(study, choice, manifest)):
        print(line)
    picture = "PICTURE"
    print(f"Written: {out}")
    if written.sample is not None:
        picture = str(out / sample.FILE)
        print(f"One {written.sample.split} image is in it; its answer is {written.sample.line}")
    print(f"Try it: python -m kdsweep.predict model={out} {picture}")


def refuse_foreign(out: Path) -> None:
    """Let no folder be replaced but one that is empty or a package.

    Raises:
        UserError: something else is there.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file()):
        raise UserError(
            f"out={out}: is there, and is no package that could be replaced; name another folder"
        )


def _summary(choice: Choice, manifest: Manifest) -> Iterator[str]:
    yield f"{manifest.name}: study {manifest.study}, trial {manifest.trial}, seed {manifest.seed}"
    yield f"The cell: {choice.cell_reason}."
    yield f"Seed {choice.seed}: {choice.seed_reason}."
    yield (
        f"Expect {manifest.expected}; these weights have {manifest.accuracy:.2f} % of the "
        f"{manifest.accuracy_split} images right."
    )
    yield f"Verdict: {manifest.verdict_sentence}"


def _evaluation_images(config: Config, root: Path) -> Split | str:
    """The images that the students were judged on; why they can't be had otherwise."""
    place = moved(config.data.root, Path(config.root), root)
    try:
        dataset = load_dataset(
            dataclasses.replace(config.data, root=place), cache=root / "store" / "images"
        )
    except UserError as error:
        return str(error)
    return dataset.test if config.evaluate.protocol == "published" else dataset.val


def _write(
    folder: Path,
    classifier: Classifier,
    manifest: Manifest,
    weights: Weights,
    formats: Sequence[Format],
    images: Split | str,
    config: Config,
) -> _Written:
    """Write every format and compare it with the network, and a picture to try it with."""
    noise = parity.random_images(manifest.image_size)
    model = of_module(classifier)
    wanted = parity.answers(model, noise)
    pixels: Pixels | None = None
    tried: Sample | None = None
    lines = []
    if isinstance(images, Split):
        pixels = np.ascontiguousarray(images.images.numpy())
        logits = parity.answers(model, pixels)
        labels = images.labels.numpy()
        same = parity.check_training(
            logits, weights.right_of(labels), labels, precision=config.train.precision
        )
        lines.append(f"{same} {manifest.accuracy_split} images answered as in training.")
        split = manifest.accuracy_split
        tried = write_sample(folder, pixels, labels, logits, classes=manifest.classes, split=split)
    else:
        lines.append(f"Not compared with training, since its images can't be had: {images}")
    for one in formats:
        one.write(folder / one.file, classifier, manifest)
        opened = one.open(folder / one.file)
        parity.check_file(one.file, opened.logits, noise, wanted)
        if pixels is not None:
            parity.check_file(one.file, opened.logits, pixels, logits)
    names = ", ".join(f"{one.file} ({one.by})" for one in formats)
    count = len(noise) + (0 if pixels is None else len(pixels))
    lines.append(f"Equal logits, up to rounding, on {count:,} images: {names}.")
    return _Written(lines, tried)


def _write_rest(folder: Path, manifest: Manifest, formats: Sequence[Format]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest.to_json(), indent=1))
    if any(one.name == "onnx" for one in formats):
        script = files("kdsweep.package").joinpath("predict.txt").read_text()
        (folder / SCRIPT).write_text(script)


def _advice(study: Study, choice: Choice, manifest: Manifest) -> Iterator[str]:
    if manifest.unhelped and manifest.warning is None and manifest.alone is not None:
        yield (
            f"Distillation is not shown to help here: the same student without a teacher has "
            f"{manifest.alone}; cell=baseline packages that one."
        )
    if manifest.role != BASELINE and not choice.candidate.confirmed and not study.read_on_test:
        yield (
            f"Not confirmed: python -m kdsweep.confirm study={study.name} trains the best cells "
            "on fresh seeds and reads them on test."
        )
    if manifest.warning is not None:
        yield f"WARNING: {manifest.warning}."


@contextlib.contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """A folder that takes the place of ``out`` once it is filled, or vanishes."""
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder
        with writable(out):
            folder.chmod(0o755)
            for path in folder.iterdir():
                path.chmod(0o644)
                sync(path)
            sync(folder)
            if out.exists():
                before = folder.with_name(f"{folder.name}.before")
                os.replace(out, before)
                shutil.rmtree(before)
            os.replace(folder, out)
            sync(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
