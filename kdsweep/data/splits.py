"""Stratified, reproducible choices among labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdsweep import streams
from kdsweep.config import DataConfig
from kdsweep.data.dataset import Source, Split
from kdsweep.errors import UserError

# Streams of a split seed, apart from one another and from those of ``kdsweep.streams``.
VALIDATION, LIMIT, TEST = range(101, 104)

# What is taken of the training images where a fraction is null and the source has none of its own.
VAL_FRACTION, TEST_FRACTION = 0.1, 0.2


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Which of a source's training images are kept for what, rising, int64."""

    train: Tensor
    val: Tensor
    test: Tensor  # empty where the source has test images of its own


def stratified(labels: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Choose ``count`` positions, each class in proportion, as rising int64 [count].

    Classes get their exact share rounded down; what is left goes to the largest remainders,
    lower classes first. Within a class the choice is a pure function of (seed, stream, position).
    """
    assert 0 <= count <= len(labels)
    if count == 0:
        return torch.empty(0, dtype=torch.int64)
    position = torch.arange(len(labels))
    keys = streams.bits(torch.tensor(seed), stream, position)
    sizes = torch.bincount(labels)
    quotas = sizes * count // len(labels)
    remainders = sizes * count % len(labels)
    largest = remainders.argsort(descending=True, stable=True)
    quotas[largest[: count - int(quotas.sum())]] += 1
    chosen = []
    for label, quota in enumerate(quotas.tolist()):
        members = position[labels == label]
        chosen.append(members[keys[members].argsort(stable=True)[:quota]])
    return torch.cat(chosen).sort().values


def positions(source: Source, config: DataConfig) -> Positions:
    """Choose test images, then validation images, then training images among the others.

    Test images are taken by ``test_seed`` where the source has none of its own and either asked
    for, by ``test_fraction``, or not a single part but the training images is there. Validation
    images are chosen by ``split_seed``; ``train_limit`` then chooses among the others.

    Raises:
        UserError: a part would be empty, a class would have no training image, there are fewer
            images than ``train_limit``, or images are asked for that the source has of its own.
    """
    labels = source.train.labels
    everything = torch.arange(len(labels))
    kept, test = _carve(
        labels, everything, _test_fraction(source, config), config.test_seed, TEST, "test"
    )
    kept, val = _carve(
        labels, kept, _val_fraction(source, config), config.split_seed, VALIDATION, "val"
    )
    missing = set(range(len(source.classes))) - set(labels[kept].tolist())
    if len(kept) < len(labels) and missing:
        name = source.classes[min(missing)]
        count = int((labels == min(missing)).sum())
        raise UserError(
            f"{config.given}: class {name} has {count} images, of which validation and test leave "
            "none for training; add images, or lower data.val_fraction and data.test_fraction"
        )
    limit = config.train_limit
    if limit is not None:
        if limit > len(kept):
            raise UserError(
                f"data.train_limit={limit}: there are {len(kept)} training images; allowed is "
                f"1 to {len(kept)}, or null for all"
            )
        chosen = stratified(labels[kept], limit, seed=config.split_seed, stream=LIMIT)
        kept = kept[chosen]
    return Positions(train=kept, val=val, test=test)


def _test_fraction(source: Source, config: DataConfig) -> float:
    given = config.test_fraction
    if len(source.test):
        if given is not None or config.test_seed != 0:
            key = "test_fraction" if given is not None else "test_seed"
            allowed = "null" if given is not None else "0"
            raise UserError(
                f"data.{key}={getattr(config, key)}: allowed is {allowed} with {config.given}, "
                "which has test images of its own"
            )
        return 0.0
    if given is None:
        return 0.0 if len(source.val) else TEST_FRACTION
    return given


def _val_fraction(source: Source, config: DataConfig) -> float:
    given = config.val_fraction
    if not len(source.val):
        return VAL_FRACTION if given is None else given
    if given:
        raise UserError(
            f"data.val_fraction={given}: allowed is null with {config.given}, which has "
            "validation images of its own, or 0 to use none"
        )
    return 0.0


def _carve(
    labels: Tensor, among: Tensor, fraction: float, seed: int, stream: int, part: str
) -> tuple[Tensor, Tensor]:
    """The rest of the positions ``among`` labelled images, and a fraction of them."""
    count = round(fraction * len(among))
    if not (count or fraction == 0) or count == len(among):
        raise UserError(
            f"data.{part}_fraction={fraction}: takes {count} of {len(among)} training "
            "images; both parts need at least one"
        )
    taken = torch.zeros(len(among), dtype=torch.bool)
    taken[stratified(labels[among], count, seed=seed, stream=stream)] = True
    return among[~taken], among[taken]


def take(split: Split, position: Tensor) -> Split:
    """The images at rising positions [n]; copied, unless they are all of them."""
    if len(position) == len(split):
        return split
    return Split(
        images=split.images.index_select(0, position),
        labels=split.labels.index_select(0, position),
    )
