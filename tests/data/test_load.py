from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdsweep.config import DataConfig
from kdsweep.data import load_dataset


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _digest(cache: Path, **options: Any) -> str:
    config = DataConfig(name="digits", image_size=8, **options)
    return load_dataset(config, cache=cache).digest


def test_digest_is_stable(cache: Path, tmp_path: Path) -> None:
    assert _digest(cache) == _digest(cache) == _digest(tmp_path)
    # A constant: runs, teachers and banks of earlier versions are found by it.
    assert _digest(cache) == ("a876777beebd90e9f80897bc78380b2b987b4917a91b2b6fe364e4dcaa093e08")


def test_digest_tells_splits_apart(cache: Path) -> None:
    options: list[dict[str, object]] = [
        {},
        {"split_seed": 1},
        {"val_fraction": 0.2},
        {"val_fraction": 0.0},
        {"train_limit": 100},
        {"val_fraction": 0.0, "train_limit": 100},
    ]
    assert len({_digest(cache, **o) for o in options}) == len(options)


def test_whole_training_set_is_mapped_not_copied(cache: Path) -> None:
    config = DataConfig(name="digits", image_size=8, val_fraction=0.0)
    dataset = load_dataset(config, cache=cache)
    assert len(dataset.val) == 0
    assert dataset.val.images.shape == (0, 3, 8, 8)
    distance = dataset.test.images.data_ptr() - dataset.train.images.data_ptr()
    assert distance == dataset.train.images.numel()  # neighbours in one mapping
