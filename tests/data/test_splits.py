from __future__ import annotations

import pytest
import torch

from kdsweep.config import DataConfig
from kdsweep.data.dataset import Source, Split
from kdsweep.data.splits import LIMIT, VALIDATION, stratified, take, training_split
from kdsweep.errors import UserError


def _source(labels: torch.Tensor) -> Source:
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    split = Split(images=images.expand(-1, 3, 2, 2), labels=labels)
    return Source(classes=("a", "b"), train=split, test=split, digest="")


def test_each_class_gives_its_share_and_the_largest_remainders_round_up() -> None:
    labels = torch.tensor([0] * 10 + [1] * 7 + [2] * 3)
    chosen = stratified(labels, 7, seed=0, stream=VALIDATION)
    # Shares 3.5, 2.45, 1.05: floors 3, 2, 1, and the one left over goes to class 0.
    assert torch.bincount(labels[chosen]).tolist() == [4, 2, 1]
    assert chosen.tolist() == sorted(set(chosen.tolist()))


def test_ties_of_remainders_go_to_the_lower_class() -> None:
    labels = torch.arange(4).repeat_interleave(2)
    chosen = stratified(labels, 2, seed=0, stream=VALIDATION)
    assert labels[chosen].tolist() == [0, 1]


def test_cifar_sizes_are_exact() -> None:
    labels = torch.arange(10).repeat(5000)
    train, val = training_split(_source(labels), DataConfig(val_fraction=0.1))
    assert torch.bincount(labels[val]).tolist() == [500] * 10
    assert torch.bincount(labels[train]).tolist() == [4500] * 10
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(50_000))


def test_choice_within_a_class_is_uniform() -> None:
    labels = torch.tensor([0] * 8 + [1] * 8)
    hits = torch.zeros(16)
    for seed in range(400):
        hits[stratified(labels, 4, seed=seed, stream=VALIDATION)] += 1
    # Each image is chosen with probability 1/4: 100 +- 8.7; the statistic has 16 - 2 degrees
    # of freedom and drawing without replacement only shrinks it. 99.99 %: 42.6.
    assert ((hits - 100) ** 2 / 100).sum() < 42.6


def test_seed_moves_the_validation_images_and_nothing_else_does() -> None:
    source = _source(torch.arange(2).repeat(50))
    _, first = training_split(source, DataConfig(split_seed=0))
    _, again = training_split(source, DataConfig(split_seed=0, train_limit=20))
    _, other = training_split(source, DataConfig(split_seed=1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_limit_chooses_among_the_training_images_by_class() -> None:
    labels = torch.arange(2).repeat(50)
    source = _source(labels)
    everything, val = training_split(source, DataConfig())
    train, _ = training_split(source, DataConfig(train_limit=30))
    assert len(everything) == 90
    assert torch.bincount(labels[train]).tolist() == [15, 15]
    assert set(train.tolist()) <= set(everything.tolist())
    assert not set(train.tolist()) & set(val.tolist())


def test_streams_of_one_seed_choose_apart() -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    one = stratified(labels, 50, seed=0, stream=VALIDATION)
    two = stratified(labels, 50, seed=0, stream=LIMIT)
    assert not torch.equal(one, two)


def test_no_validation_keeps_every_image() -> None:
    train, val = training_split(_source(torch.arange(2).repeat(5)), DataConfig(val_fraction=0))
    assert train.tolist() == list(range(10))
    assert val.tolist() == []


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_fraction_that_empties_a_part_is_refused(fraction: float) -> None:
    source = _source(torch.arange(2).repeat(5))
    with pytest.raises(UserError, match=r"data.val_fraction=.*of 10 training images"):
        training_split(source, DataConfig(val_fraction=fraction))


def test_a_limit_above_the_number_of_images_is_refused() -> None:
    source = _source(torch.arange(2).repeat(5))
    with pytest.raises(UserError, match=r"data.train_limit=10: there are 9"):
        training_split(source, DataConfig(train_limit=10))


def test_take_copies_a_part_and_shares_the_whole() -> None:
    split = _source(torch.arange(2).repeat(5)).train
    part = take(split, torch.tensor([1, 4]))
    assert part.images[:, 0, 0, 0].tolist() == [1, 4]
    assert part.labels.tolist() == [1, 0]
    assert take(split, torch.arange(10)) is split
