from __future__ import annotations

from typing import Any

import pytest
import torch

from kdsweep.config import DataConfig
from kdsweep.data.dataset import Source, Split
from kdsweep.data.splits import LIMIT, VALIDATION, positions, stratified, take
from kdsweep.errors import UserError


def _source(labels: torch.Tensor, own: tuple[str, ...] = ("test",)) -> Source:
    """Images of two classes; ``own`` are the parts that there are beside train, equal to it."""
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    split = Split(images=images.expand(-1, 3, 2, 2), labels=labels)
    empty = Split(images=split.images[:0], labels=labels[:0])
    val, test = (split if part in own else empty for part in ("val", "test"))
    return Source(classes=("a", "b"), train=split, val=val, test=test, digest="")


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
    at = positions(_source(labels), DataConfig(val_fraction=0.1))
    train, val = at.train, at.val
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
    first = positions(source, DataConfig(split_seed=0)).val
    again = positions(source, DataConfig(split_seed=0, train_limit=20)).val
    other = positions(source, DataConfig(split_seed=1)).val
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_limit_chooses_among_the_training_images_by_class() -> None:
    labels = torch.arange(2).repeat(50)
    source = _source(labels)
    whole = positions(source, DataConfig())
    everything, val = whole.train, whole.val
    train = positions(source, DataConfig(train_limit=30)).train
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
    at = positions(_source(torch.arange(2).repeat(5)), DataConfig(val_fraction=0))
    assert at.train.tolist() == list(range(10))
    assert at.val.tolist() == []
    assert at.test.tolist() == []


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_fraction_that_empties_a_part_is_refused(fraction: float) -> None:
    source = _source(torch.arange(2).repeat(5))
    with pytest.raises(UserError, match=r"data.val_fraction=.*of 10 training images"):
        positions(source, DataConfig(val_fraction=fraction))


def test_a_limit_above_the_number_of_images_is_refused() -> None:
    source = _source(torch.arange(2).repeat(5))
    with pytest.raises(UserError, match=r"data.train_limit=10: there are 9"):
        positions(source, DataConfig(train_limit=10))


LABELS = torch.arange(2).repeat(50)


@pytest.mark.parametrize(
    ("own", "given", "sizes"),
    [
        ((), {"val_fraction": None}, [72, 8, 20]),  # nothing is given: a fifth, and a tenth
        ((), {"val_fraction": 0.25, "test_fraction": 0.2}, [60, 20, 20]),
        ((), {"val_fraction": 0.1, "test_fraction": 0.0}, [90, 10, 0]),
        (("test",), {"val_fraction": None}, [90, 10, 0]),
        (("val",), {"val_fraction": None}, [100, 0, 0]),
        (("val",), {"val_fraction": None, "test_fraction": 0.3}, [70, 0, 30]),
        (("val",), {"val_fraction": 0.0}, [100, 0, 0]),
        (("val", "test"), {"val_fraction": None}, [100, 0, 0]),
    ],
)
def test_what_is_taken_of_the_training_images(
    own: tuple[str, ...], given: dict[str, Any], sizes: list[int]
) -> None:
    at = positions(_source(LABELS, own), DataConfig(**given))
    parts = [at.train, at.val, at.test]
    assert [len(part) for part in parts] == sizes
    assert sorted(torch.cat(parts).tolist()) == list(range(100))
    for part in parts:
        assert part.tolist() == sorted(part.tolist())
        assert torch.bincount(LABELS[part], minlength=2).diff().item() == 0


def test_test_images_have_a_seed_of_their_own() -> None:
    source = _source(LABELS, ())
    first = positions(source, DataConfig()).test
    assert torch.equal(first, positions(source, DataConfig(split_seed=1)).test)
    assert not torch.equal(first, positions(source, DataConfig(test_seed=1)).test)


@pytest.mark.parametrize(
    ("own", "given", "line"),
    [
        (("test",), {"test_fraction": 0.2}, "data.test_fraction=0.2: allowed is null with data=d"),
        (("test",), {"test_fraction": 0.0}, "data.test_fraction=0.0: allowed is null with data=d"),
        (("test",), {"test_seed": 3}, "data.test_seed=3: allowed is 0 with data=digits"),
        (("val",), {"val_fraction": 0.2}, "data.val_fraction=0.2: allowed is null with data=dig"),
        ((), {"test_fraction": 0.001}, "data.test_fraction=0.001: takes 0 of 100 training image"),
    ],
)
def test_what_is_there_is_not_taken_again(
    own: tuple[str, ...], given: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError) as raised:
        positions(_source(LABELS, own), DataConfig(**given))
    assert str(raised.value).startswith(line)


def test_a_class_that_the_split_would_take_whole_is_refused() -> None:
    labels = torch.tensor([0] * 9 + [1])
    with pytest.raises(UserError, match=r"^data=digits: class b has 1 images, of which valid"):
        positions(_source(labels), DataConfig(val_fraction=0.9))
    positions(_source(labels), DataConfig(val_fraction=0.1))


def test_take_copies_a_part_and_shares_the_whole() -> None:
    split = _source(torch.arange(2).repeat(5)).train
    part = take(split, torch.tensor([1, 4]))
    assert part.images[:, 0, 0, 0].tolist() == [1, 4]
    assert part.labels.tolist() == [1, 0]
    assert take(split, torch.arange(10)) is split
