"""Datasets of the Hugging Face library, made here: what it saved, and a folder of image files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.config import DataConfig
from kdsweep.data import Dataset, load_dataset
from kdsweep.errors import UserError

NAMES = ["cat", "dog", "owl"]


def picture(i: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8, 3), i, dtype=np.uint8))


def made(n: int = 30, first: int = 0, **columns: Any) -> Any:
    """Images, PNG inside, each of one grey, and labels of three classes."""
    given = {
        "image": [picture(first + i) for i in range(n)],
        "label": [i % 3 for i in range(n)],
        **columns,
    }
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=NAMES),
        "digit": datasets.Value("int32"),
        "text": datasets.Value("string"),
        "coarse": datasets.ClassLabel(names=["a", "b"]),
        "other": datasets.Image(),
    }
    there = {name: column for name, column in given.items() if column is not None}
    chosen = datasets.Features({name: features[name] for name in there})
    return datasets.Dataset.from_dict(there, features=chosen)


def load(tmp_path: Path, saved: Any = None, **options: Any) -> Dataset:
    if saved is not None:
        saved.save_to_disk(str(tmp_path / "saved"))
    asked = {"name": str(tmp_path / "saved"), "image_size": 8, "val_fraction": None, **options}
    config = DataConfig(source="huggingface", root=str(tmp_path / "hub"), **asked)
    return load_dataset(config, cache=tmp_path / "cache")


def refused(tmp_path: Path, saved: Any = None, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        load(tmp_path, saved, **options)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "cache").glob("huggingface-8-*"))
    return str(raised.value).replace(f"{tmp_path}/", "")


def test_parts_are_known_by_their_names(tmp_path: Path) -> None:
    parts = {"train": made(), "validation": made(9, 100), "test": made(6, 200), "extra": made()}
    data = load(tmp_path, datasets.DatasetDict(parts))
    assert data.classes == tuple(NAMES)
    for split, first in ((data.train, 0), (data.val, 100), (data.test, 200)):
        values = split.images.flatten(1).float().mean(1)
        assert values.tolist() == [first + i for i in range(len(split))]
        assert split.labels.tolist() == [i % 3 for i in range(len(split))]
    assert [len(part) for part in (data.train, data.val, data.test)] == [30, 9, 6]


def test_one_part_is_split(tmp_path: Path) -> None:
    data = load(tmp_path, made())
    assert [len(part) for part in (data.train, data.val, data.test)] == [22, 2, 6]


def test_a_folder_of_image_files(tmp_path: Path) -> None:
    for part, n in (("train", 30), ("test", 6)):
        for i in range(n):
            place = tmp_path / "files" / part / NAMES[i % 3]
            place.mkdir(parents=True, exist_ok=True)
            picture(i).save(place / f"{i:02}.png")
    data = load(tmp_path, name=str(tmp_path / "files"))
    assert data.classes == tuple(NAMES)
    assert len(data.test) == 6
    values = torch.cat([data.train.images, data.val.images])[:, 0, 0, 0]
    labels = torch.cat([data.train.labels, data.val.labels])
    assert sorted(values.tolist()) == list(range(30))
    assert (values % 3 == labels).all()


def test_what_a_dataset_is_found_by(tmp_path: Path) -> None:
    first = load(tmp_path, made())
    assert load(tmp_path).digest == first.digest
    other = load(tmp_path / "b", made(first=1))
    assert other.digest != first.digest


def test_columns_are_named_where_there_are_several(tmp_path: Path) -> None:
    both = made(coarse=[i % 2 for i in range(30)], other=[picture(9)] * 30)
    line = refused(tmp_path, both)
    assert line.startswith("data.image_column=None: allowed is one of image, other, since 2 colum")
    line = refused(tmp_path, image_column="image")
    assert line.startswith("data.label_column=None: allowed is one of label, coarse, since 2 colu")
    line = refused(tmp_path, image_column="image", label_column="corse")
    assert line.startswith("data.label_column=corse: allowed is one of image, label, coarse, oth")
    assert line.endswith("did you mean coarse?")
    line = refused(tmp_path, image_column="label")
    assert line.startswith("data.image_column=label: allowed is one of image, other")
    data = load(tmp_path, image_column="image", label_column="coarse")
    assert data.classes == ("a", "b")


def test_labels_of_plain_numbers_are_named(tmp_path: Path) -> None:
    plain = made(label=None, digit=[i % 3 for i in range(30)], text=["cat"] * 30)
    line = refused(tmp_path, plain)
    assert line.startswith(
        "data.label_column=None: allowed is one of image, digit, text, since no"
    )
    assert load(tmp_path, label_column="digit").classes == ("0", "1", "2")
    line = refused(tmp_path / "b", plain, label_column="text")
    assert line.startswith("data.name=saved: column text of train: labels are <U3, such as 'cat'")


def test_labels_that_are_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hidden = datasets.DatasetDict({"train": made(), "test": made(6, label=[-1] * 6)})
    data = load(tmp_path, hidden)
    assert "the test images have no labels and are not used" in caplog.text
    assert len(data.test) == 6  # taken of the training images
    some = datasets.DatasetDict({"train": made(), "test": made(3, label=[0, -1, 2])})
    line = refused(tmp_path / "b", some)
    assert line.startswith("data.name=saved: has labels from -1 to 2; allowed are 0 to 2")


def test_images_that_are_missing_or_broken(tmp_path: Path) -> None:
    images = [None, *[picture(i) for i in range(29)]]
    assert refused(tmp_path, made(image=images)).startswith("data.name=saved: an image is missing")
    broken: list[Any] = [picture(i) for i in range(30)]
    broken[4] = {"bytes": b"no image", "path": None}
    line = refused(tmp_path / "b", made(image=broken))
    assert line.startswith("data.name=saved: 1 of 30 images can't be read: train 4 (cannot identi")


def test_splits_that_do_not_fit(tmp_path: Path) -> None:
    line = refused(tmp_path, datasets.DatasetDict({"test": made()}))
    assert line.startswith("data.name=saved: has the splits test; allowed are train, validation")
    renamed = made(6).cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))
    line = refused(tmp_path / "b", datasets.DatasetDict({"train": made(), "test": renamed}))
    assert line == "data.name=saved: test has other classes than train"
    twice = {"train": made(), "val": made(6), "validation": made(6)}
    line = refused(tmp_path / "c", datasets.DatasetDict(twice))
    assert line == "data.name=saved: has two splits for val; leave one"
    both = datasets.DatasetDict({"train": made(), "test": made(2)})
    assert "1 of 3 classes have no test images (owl)" in refused(tmp_path / "d", both)


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refused(tmp_path)
    assert line.startswith("data.name=saved: the datasets library can't open it (")
    monkeypatch.setitem(sys.modules, "datasets", None)
    line = refused(tmp_path)
    assert line.startswith("data=huggingface: needs the datasets library; pip install 'kdsweep[hu")
