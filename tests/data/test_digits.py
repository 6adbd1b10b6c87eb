from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from kdsweep.config import DataConfig
from kdsweep.data import Dataset, load_dataset


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return load_dataset(DataConfig(name="digits"), cache=cache)


def test_sizes_types_and_classes(digits: Dataset) -> None:
    assert digits.name == "digits"
    assert digits.classes == tuple("0123456789")
    assert [len(s) for s in (digits.train, digits.val, digits.test)] == [1294, 144, 359]
    for split in (digits.train, digits.val, digits.test):
        assert split.images.shape == (len(split), 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64


def test_every_digit_is_there_once_with_its_label(digits: Dataset) -> None:
    bunch = load_digits()
    splits = (digits.train, digits.val, digits.test)
    images = torch.cat([s.images for s in splits])
    labels = torch.cat([s.labels for s in splits])
    # 0..16 to 0..255 and back: 255 / 16 is far more than the rounding.
    small = (images[:, 0, 12:20, 12:20].double() * 16 / 255).round().long()
    ours = sorted((*x.flatten().tolist(), y) for x, y in zip(small, labels.tolist(), strict=True))
    theirs = sorted(
        (*x.astype(int).ravel().tolist(), int(y))
        for x, y in zip(bunch.images, bunch.target, strict=True)
    )
    assert ours == theirs


def test_padding_is_black_and_channels_are_equal(digits: Dataset) -> None:
    images = digits.train.images.clone()
    assert images.max() == 255
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    images[:, :, 12:20, 12:20] = 0
    assert images.count_nonzero() == 0


def test_test_images_are_a_fifth_of_each_class_whatever_the_split_seed(
    digits: Dataset, cache: Path
) -> None:
    counts = torch.bincount(digits.test.labels)
    whole = torch.bincount(torch.tensor(load_digits().target))
    assert (counts - whole / 5).abs().max() < 1
    other = load_dataset(DataConfig(name="digits", split_seed=1), cache=cache)
    assert torch.equal(other.test.images, digits.test.images)
    assert not torch.equal(other.val.images, digits.val.images)


def test_image_size(cache: Path) -> None:
    small = load_dataset(DataConfig(name="digits", image_size=8), cache=cache)
    odd = load_dataset(DataConfig(name="digits", image_size=11), cache=cache)
    assert torch.equal(odd.train.images[:, :, 1:9, 1:9], small.train.images)
    assert small.digest != odd.digest


def test_known_digits_open_without_scikit_learn(
    digits: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert load_dataset(DataConfig(name="digits"), cache=cache).digest == digits.digest
