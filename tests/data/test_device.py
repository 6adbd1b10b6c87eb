"""Which images a population is evaluated on, and how long a dataset is kept."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsweep.config import Config, DataConfig, EvaluateConfig, TrainConfig
from kdsweep.data import load_dataset
from kdsweep.data.arrays import cached
from kdsweep.data.dataset import Source
from kdsweep.data.device import Datasets
from kdsweep.data.sources.digits import find_digits
from kdsweep.errors import UserError
from tests.train.setting import ONE_BY_ONE


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


def config(root: Path, protocol: str = "validation", **data: object) -> Config:
    if protocol == "published":
        data["val_fraction"] = 0.0
    return Config(
        data=DataConfig(image_size=8, **data),
        evaluate=EvaluateConfig(protocol=protocol),
        train=TrainConfig(threads=1),
        root=str(root),
    )


# What may choose a student, and what may only be opened once it is chosen.
SPLIT_OF = {"validation": "val", "published": "test"}


@pytest.mark.parametrize("protocol", SPLIT_OF)
def test_the_evaluation_images_of_a_protocol_are_its_own_split(root: Path, protocol: str) -> None:
    asked = config(root, protocol)
    made = Datasets().load(asked, ONE_BY_ONE)
    split = getattr(load_dataset(asked.data, cache=root / "store" / "images"), SPLIT_OF[protocol])
    assert made.evaluation.name == {"val": "validation", "test": "test"}[SPLIT_OF[protocol]]
    assert made.evaluation.prefix == SPLIT_OF[protocol]
    assert torch.equal(made.evaluation.images, split.images)
    assert torch.equal(made.evaluation.labels, split.labels)
    assert torch.equal(made.test.images, made.host.test.images)
    assert made.test.name == made.test.prefix == "test"


def opened(root: Path) -> Source:
    cache = root / "store" / "images"
    found = find_digits(config(root).data, cache)
    return cached(cache / found.folder, found.read)


def test_selection_and_training_never_see_a_test_image(root: Path) -> None:
    """Every image of the source is in one part: of equal images, as often as in the source."""
    made = Datasets().load(config(root), ONE_BY_ONE)
    source = opened(root)
    parts = torch.cat([made.host.train.images, made.evaluation.images]).flatten(1)
    assert sorted(parts.tolist()) == sorted(source.train.images.flatten(1).tolist())
    assert torch.equal(made.test.images, source.test.images)
    assert len(made.evaluation.labels) == 144


def test_a_protocol_with_validation_images_needs_some(root: Path) -> None:
    with pytest.raises(UserError, match=r"^data.val_fraction=0.0"):
        config(root, val_fraction=0.0)


def test_a_dataset_is_loaded_once_while_it_is_kept(root: Path) -> None:
    datasets = Datasets(limit=2)
    first = datasets.load(config(root), ONE_BY_ONE)
    other = datasets.load(config(root, split_seed=1), ONE_BY_ONE)
    assert datasets.load(config(root), ONE_BY_ONE) is first
    datasets.load(config(root, split_seed=2), ONE_BY_ONE)  # the oldest of the three goes
    assert datasets.load(config(root), ONE_BY_ONE) is first
    assert datasets.load(config(root, split_seed=1), ONE_BY_ONE) is not other


def test_a_dataset_that_is_not_kept_is_let_go(root: Path) -> None:
    datasets = Datasets(limit=1)
    views = weakref.ref(datasets.load(config(root), ONE_BY_ONE).views)
    assert views() is not None
    datasets.load(config(root, split_seed=1), ONE_BY_ONE)
    gc.collect()
    assert views() is None


def test_a_batch_is_no_larger_than_the_data(root: Path) -> None:
    data = DataConfig(image_size=8, train_limit=100)
    fits = Config(data=data, train=TrainConfig(threads=1, batch_size=100), root=str(root))
    assert len(Datasets().load(fits, ONE_BY_ONE).labels) == 100
    large = replace(fits, train=TrainConfig(threads=1, batch_size=101))
    with pytest.raises(UserError, match=r"^train.batch_size=101: allowed is 2 to 100, the number"):
        Datasets().load(large, ONE_BY_ONE)


def test_test_images_are_missed_where_they_are_to_be_read(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    images = np.zeros((60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_val=images, y_val=labels)
    data = DataConfig(name="arrays", root=str(tmp_path / "a.npz"), image_size=8, val_fraction=None)
    asked = replace(config(tmp_path), data=data, train=TrainConfig(threads=1, batch_size=8))
    made = Datasets().load(asked, ONE_BY_ONE)
    assert (len(made.evaluation.labels), len(made.test.labels)) == (60, 0)
    test = replace(asked, evaluate=EvaluateConfig(test=True))
    line = r"^data.root=.*a.npz: has no test images, and a confirmation is judged on them: add som"
    with pytest.raises(UserError, match=line):
        Datasets().load(test, ONE_BY_ONE)
    taken = replace(test, data=replace(data, test_fraction=0.5))
    assert len(Datasets().load(taken, ONE_BY_ONE).test.labels) == 30
    none = replace(data, val_fraction=0.0)
    published = replace(asked, data=none, evaluate=EvaluateConfig(protocol="published"))
    with pytest.raises(UserError, match=r"and evaluate\.protocol=published is judged on them"):
        Datasets().load(published, ONE_BY_ONE)
