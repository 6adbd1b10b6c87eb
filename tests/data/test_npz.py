"""Images and labels as arrays of one file: what is taken, and what is refused in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kdsweep.config import DataConfig
from kdsweep.data import Dataset, load_dataset
from kdsweep.errors import UserError


def pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels(n: int, classes: int = 3) -> NDArray[np.int64]:
    return np.arange(n) % classes


X, TX = pixels(30, 8, 8, 3), pixels(9, 8, 8, 3, seed=1)
WHOLE: dict[str, NDArray[Any]] = {
    "x_train": X, "y_train": labels(30), "x_test": TX, "y_test": labels(9)
}  # fmt: skip


def load(tmp_path: Path, arrays: dict[str, NDArray[Any]] | None = None, **options: Any) -> Dataset:
    if arrays is not None:
        np.savez(tmp_path / "a.npz", **arrays)
    config = DataConfig(
        name="arrays", root=str(tmp_path / "a.npz"), **{"image_size": 8, **options}
    )
    return load_dataset(config, cache=tmp_path / "cache")


def refused(tmp_path: Path, arrays: dict[str, NDArray[Any]] | None, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        load(tmp_path, arrays, **options)
    line = str(raised.value)
    assert "\n" not in line
    assert not list((tmp_path / "cache").glob("arrays-8-*"))
    return line.replace(f"data.root={tmp_path}/", "data.root=")


def test_parts_and_pixels(tmp_path: Path) -> None:
    data = load(tmp_path, WHOLE, val_fraction=0.0)
    assert data.name == "arrays"
    assert data.classes == ("0", "1", "2")
    assert torch.equal(data.train.images, torch.from_numpy(X).permute(0, 3, 1, 2))
    assert torch.equal(data.test.images, torch.from_numpy(TX).permute(0, 3, 1, 2))
    assert data.train.labels.tolist() == labels(30).tolist()
    assert data.test.labels.tolist() == labels(9).tolist()


GREY = X[..., 0]


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (X.transpose(0, 3, 1, 2), X),
        (GREY, GREY[..., None].repeat(3, -1)),
        (GREY[..., None], GREY[..., None].repeat(3, -1)),
        (GREY[:, None], GREY[..., None].repeat(3, -1)),
    ],
    ids=["NCHW", "NHW", "NHW1", "N1HW"],
)
def test_layouts(tmp_path: Path, given: NDArray[np.uint8], same: NDArray[np.uint8]) -> None:
    arrays = {"images": given, "labels": labels(30).astype(np.uint8)[:, None]}
    data = load(tmp_path, arrays, val_fraction=0.0, test_fraction=0.0)
    assert torch.equal(data.train.images, torch.from_numpy(same).permute(0, 3, 1, 2))


def test_images_of_another_shape_are_resized_and_cropped_as_files_are(tmp_path: Path) -> None:
    from PIL import Image

    from kdsweep.data.decode import square

    wide = pixels(30, 12, 20, 3)
    data = load(tmp_path, {**WHOLE, "x_train": wide}, val_fraction=0.0)
    Image.fromarray(wide[4]).save(tmp_path / "one.png")
    expected = torch.from_numpy(square(tmp_path / "one.png", size=8).copy())
    assert torch.equal(data.train.images[4], expected)


def test_validation_images_of_its_own_are_used_as_they_are(tmp_path: Path) -> None:
    own = {"x_val": TX, "y_val": labels(9)}
    data = load(tmp_path, {**WHOLE, **own}, val_fraction=None)
    assert [len(part) for part in (data.train, data.val, data.test)] == [30, 9, 9]
    assert torch.equal(data.val.images, torch.from_numpy(TX).permute(0, 3, 1, 2))
    unused = load(tmp_path, val_fraction=0.0)
    assert len(unused.val) == 0
    assert unused.digest != data.digest
    with pytest.raises(UserError, match=r"^data.val_fraction=0.2: allowed is null with data.root"):
        load(tmp_path, val_fraction=0.2)


def test_a_single_part_is_split(tmp_path: Path) -> None:
    arrays = {"images": X, "labels": labels(30)}
    data = load(tmp_path, arrays, val_fraction=None)
    assert [len(part) for part in (data.train, data.val, data.test)] == [22, 2, 6]
    images = torch.cat([part.images.flatten(1) for part in (data.train, data.val, data.test)])
    whole = torch.from_numpy(X).permute(0, 3, 1, 2).flatten(1)
    assert sorted(images.tolist()) == sorted(whole.tolist())
    digests = {data.digest}
    for options in ({"test_seed": 1}, {"test_fraction": 0.3}, {"split_seed": 1}):
        digests.add(load(tmp_path, **{"val_fraction": None, **options}).digest)
    assert len(digests) == 4


def test_classes_have_names(tmp_path: Path) -> None:
    names = {"classes": np.array(["cat", "dog", "owl"])}
    assert load(tmp_path, {**WHOLE, **names}).classes == ("cat", "dog", "owl")


def test_what_a_file_is_found_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tmp_path, WHOLE)
    with monkeypatch.context() as patched:
        patched.setattr("kdsweep.data.sources.npz.file_hash", lambda _: pytest.fail("read again"))
        assert load(tmp_path).digest == first.digest
    os.utime(tmp_path / "a.npz", (1, 1))
    assert load(tmp_path).digest == first.digest
    other = X.copy()
    other[0, 0, 0, 0] ^= 1
    assert load(tmp_path, {**WHOLE, "x_train": other}).digest != first.digest
    assert len(list((tmp_path / "cache").glob("arrays-8-*"))) == 2


FLOAT = (X / 255).astype(np.float32)
REFUSED: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "floats from 0 to 1": (
        {**WHOLE, "x_train": FLOAT},
        f"data.root=a.npz: x_train has float32 values ({FLOAT.min():.4g} to {FLOAT.max():.4g}); "
        "allowed is uint8, 0 to 255",
    ),
    "wide integers": (
        {**WHOLE, "x_test": TX.astype(np.int64)},
        "data.root=a.npz: x_test has int64 values (0 to 255); allowed is uint8",
    ),
    "truth values": (
        {**WHOLE, "x_test": TX > 9},
        "data.root=a.npz: x_test has bool values; allowed is uint8",
    ),
    "four channels": (
        {**WHOLE, "x_train": pixels(30, 8, 8, 4)},
        "data.root=a.npz: x_train has shape (8, 8, 4); allowed are [H, W]",
    ),
    "either layout": (
        {**WHOLE, "x_train": pixels(30, 3, 8, 3)},
        "data.root=a.npz: x_train has shape (3, 8, 3); allowed are",
    ),
    "flat images": (
        {**WHOLE, "x_train": pixels(30, 192)},
        "data.root=a.npz: x_train has shape (30, 192); allowed are [n, H, W]",
    ),
    "labels that are floats": (
        {**WHOLE, "y_train": labels(30) + 0.5},
        "data.root=a.npz: y_train: labels are float64, such as 0.5; allowed are whole",
    ),
    "labels that are names": (
        {**WHOLE, "y_train": np.array(["cat", "dog", "owl"] * 10)},
        "data.root=a.npz: y_train: labels are <U3",
    ),
    "one hot": (
        {**WHOLE, "y_train": np.eye(3, dtype=int)[labels(30)]},
        "data.root=a.npz: y_train has shape (30, 3) for 30 images; allowed is (30,)",
    ),
    "too few labels": (
        {**WHOLE, "y_train": labels(29)},
        "data.root=a.npz: y_train has shape (29,) for 30 images",
    ),
    "labels from 1": (
        {**WHOLE, "y_train": labels(30) + 1, "y_test": labels(9) + 1},
        "data.root=a.npz: 1 of 4 classes have no train images (0); every part must have all",
    ),
    "labels below 0": (
        {**WHOLE, "y_test": labels(9) - 1},
        "data.root=a.npz: has labels from -1 to 2; allowed are 0 to 2",
    ),
    "a class that test alone has": (
        {**WHOLE, "y_test": labels(9, 4)},
        "data.root=a.npz: 1 of 4 classes have no train images (3)",
    ),
    "a class that test lacks": (
        {**WHOLE, "y_test": labels(9, 2)},
        "data.root=a.npz: 1 of 3 classes have no test images (2)",
    ),
    "too few names": (
        {**WHOLE, "classes": np.array(["cat", "dog"])},
        "data.root=a.npz: has labels from 0 to 2; allowed are 0 to 1, one for each class",
    ),
    "no images": (
        {**WHOLE, "x_test": TX[:0], "y_test": labels(0)},
        "data.root=a.npz: has no test images",
    ),
    "no labels": (
        {"x_train": X},
        "data.root=a.npz: has no array y_train; allowed is x_train, y_train",
    ),
    "other names": (
        {"a": X, "b": labels(30)},
        "data.root=a.npz: has the arrays a, b; allowed are x_train, y_train",
    ),
    "a part by another name": (
        {**WHOLE, "x_valid": TX, "y_valid": labels(9)},
        "data.root=a.npz: has the arrays x_train, y_train, x_test, y_test, x_valid, y_valid; all",
    ),
    "two names of one part": (
        {**WHOLE, "images": X, "labels": labels(30)},
        "data.root=a.npz: has x_train and images for train; leave one",
    ),
    "objects": (
        {**WHOLE, "x_train": np.array([None] * 30, dtype=object)},
        "data.root=a.npz: is no .npz file of plain arrays, or is damaged (Object arrays cannot",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tmp_path: Path, what: str) -> None:
    arrays, line = REFUSED[what]
    assert refused(tmp_path, arrays, val_fraction=None).startswith(line)


def test_a_file_that_is_no_npz(tmp_path: Path) -> None:
    assert "a.npz is no file; allowed is a .npz file" in refused(tmp_path, None)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and nothing else")
    assert refused(tmp_path, None).startswith("data.root=a.npz: is no .npz file of plain arrays")
    (tmp_path / "a.npz").write_text("no file of arrays")
    assert refused(tmp_path, None).startswith("data.root=a.npz: is no .npz file of plain arrays")
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, X)
    assert refused(tmp_path, None).startswith("data.root=a.npz: is a single array; allowed is x_t")
    np.savez(tmp_path / "a.npz", **WHOLE)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path, None).startswith("data.root=a.npz: is no .npz file of plain arrays")
