"""A user's function becomes a source of images; what it may give, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.config import DataConfig
from kdsweep.data import Dataset, load_dataset, register_dataset
from kdsweep.data.sources import registered
from kdsweep.errors import UserError
from kdsweep.registry import Registry

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)


class Pairs(torch.utils.data.Dataset[Any]):
    """Images in some form, with labels of three classes."""

    def __init__(self, form: Callable[[int], object], labels: Callable[[int], object]) -> None:
        self.form = form
        self.labels = labels

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[object, object]:
        return self.form(index), self.labels(index)


class NamedPairs(Pairs):
    """Those whose classes have names."""

    classes = ("cat", "dog", "owl")


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered, "DATASETS", Registry("dataset"))


def mine(
    form: Callable[[int], object] = PIXELS.__getitem__,
    labels: Callable[[int], object] = lambda i: i % 3,
    parts: tuple[str, ...] = ("train", "test"),
) -> None:
    @register_dataset("mine")
    def _mine(root: Path | None, split: str) -> Pairs | None:
        return Pairs(form, labels) if split in parts else None


def load(tmp_path: Path, **options: Any) -> Dataset:
    asked = {"name": "mine", "image_size": 8, "val_fraction": 0.0, **options}
    return load_dataset(DataConfig(source="registered", **asked), cache=tmp_path / "cache")


def refused(tmp_path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        load(tmp_path, **options)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "cache").glob("registered-8-*"))
    return str(raised.value)


FORMS: dict[str, Callable[[int], object]] = {
    "array": lambda i: PIXELS[i],
    "tensor": lambda i: torch.from_numpy(PIXELS[i]).permute(2, 0, 1),
    "Pillow's": lambda i: Image.fromarray(PIXELS[i]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [int, np.int64, torch.tensor])
def test_forms_of_images_and_labels(
    tmp_path: Path, form: str, number: Callable[[int], object]
) -> None:
    mine(FORMS[form], lambda i: number(i % 3))
    data = load(tmp_path)
    assert torch.equal(data.train.images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert data.train.labels.tolist() == [i % 3 for i in range(30)]
    assert data.classes == ("0", "1", "2")


def test_what_the_function_is_called_with(tmp_path: Path) -> None:
    calls = []

    @register_dataset("mine")
    def _mine(root: Path | None, split: str, *, blue: bool = False) -> Pairs | None:
        calls.append((root, split, blue))
        dataset = NamedPairs(PIXELS.__getitem__, lambda i: i % 3)
        return dataset if split == "train" else None

    data = load(tmp_path, root=str(tmp_path), options={"blue": True}, val_fraction=None)
    assert calls == [(tmp_path, split, True) for split in ("train", "val", "test")]
    assert [len(part) for part in (data.train, data.val, data.test)] == [22, 2, 6]
    assert data.classes == ("cat", "dog", "owl")
    line = refused(tmp_path / "other", options={"red": 1})
    assert line.startswith("data.options={'red': 1}: mine(root, split, **options) can't be called")


def test_changed_images_are_noticed(tmp_path: Path) -> None:
    images = PIXELS.copy()
    mine(lambda i: images[i])
    first = load(tmp_path)
    assert load(tmp_path).digest == first.digest
    images[3, 0, 0, 0] ^= 1
    assert load(tmp_path).digest != first.digest


def _random(index: int) -> object:
    return np.random.default_rng().integers(0, 256, (8, 8, 3), dtype=np.uint8)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "augmented": (
        {"form": _random},
        "data.name=mine: 60 of 60 images can't be read: train 0 (another image each time; leave "
        "random augmentation to data.views); ",
    ),
    "floats": (
        {"form": lambda i: torch.from_numpy(PIXELS[i]) / 255},
        "data.name=mine: 60 of 60 images can't be read: train 0 (float32 values (",
    ),
    "no image": (
        {"form": lambda i: "a.png"},
        "data.name=mine: 60 of 60 images can't be read: train 0 (is a str; allowed are a picture",
    ),
    "float labels": (
        {"labels": lambda i: i / 2},
        "data.name=mine: train: labels are float64, such as 0.0; allowed are whole numbers",
    ),
    "named labels": (
        {"labels": lambda i: "cat"},
        "data.name=mine: train: labels are <U3, such as 'cat'; allowed are whole numbers",
    ),
    "truth values": (
        {"labels": lambda i: i > 4},
        "data.name=mine: train: labels are bool, such as False; allowed are whole numbers",
    ),
    "no training images": (
        {"parts": ("test",)},
        "data.name=mine: gives None for train; allowed is a dataset",
    ),
    "a broken item": (
        {"form": lambda i: PIXELS[i + 20]},
        "data.name=mine: train image 10 can't be read (IndexError: index 30 is out of bounds",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tmp_path: Path, what: str) -> None:
    given, line = REFUSED[what]
    mine(**given)
    assert refused(tmp_path).startswith(line)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            iter([]),
            "gives a list_iterator for train; allowed is a dataset with a length and items",
        ),
        ([PIXELS[0]], "train item 0 is a ndarray; allowed is a pair of an image and its label"),
        ([], "has no train images"),
    ],
)
def test_what_is_no_dataset(tmp_path: Path, given: Any, line: str) -> None:
    register_dataset("mine")(lambda root, split: given if split == "train" else None)
    assert refused(tmp_path).startswith(f"data.name=mine: {line}")


def test_a_function_that_fails(tmp_path: Path) -> None:
    def failing(root: Path, split: str) -> None:
        raise FileNotFoundError(f"no {split}")

    register_dataset("mine")(failing)
    assert refused(tmp_path) == (
        "data.name=mine: train can't be had (FileNotFoundError: no train); return None for a "
        "split that there is not"
    )


def test_a_name_that_is_not_registered(tmp_path: Path) -> None:
    assert "no dataset is registered; plugins=[MODULE] imports" in refused(tmp_path)
    mine()
    line = refused(tmp_path, name="mein")
    assert line == "data.name=mein: no such dataset; allowed is one of mine; did you mean mine?"
