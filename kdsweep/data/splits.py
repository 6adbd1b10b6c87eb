"""Stratified, reproducible choices among labelled images."""

from __future__ import annotations

import torch
from torch import Tensor

from kdsweep import streams
from kdsweep.config import DataConfig
from kdsweep.data.dataset import Source, Split
from kdsweep.errors import UserError

# Streams of a split seed, apart from one another and from those of ``kdsweep.streams``.
VALIDATION, LIMIT, TEST = range(101, 104)


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


def training_split(source: Source, config: DataConfig) -> tuple[Tensor, Tensor]:
    """Positions among the training images: kept for training, kept for validation.

    Validation images are chosen first, by ``split_seed``; ``train_limit`` then chooses among the
    others, so it leaves the validation images alone.

    Raises:
        UserError: a part would be empty, or there are fewer images than ``train_limit``.
    """
    labels = source.train.labels
    count = round(config.val_fraction * len(labels))
    if not (count or config.val_fraction == 0) or count == len(labels):
        raise UserError(
            f"data.val_fraction={config.val_fraction}: takes {count} of {len(labels)} training "
            "images; both parts need at least one"
        )
    val = stratified(labels, count, seed=config.split_seed, stream=VALIDATION)
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[val] = False
    train = kept.nonzero().squeeze(1)
    limit = config.train_limit
    if limit is not None:
        if limit > len(train):
            raise UserError(
                f"data.train_limit={limit}: there are {len(train)} training images; allowed is "
                f"1 to {len(train)}, or null for all"
            )
        chosen = stratified(labels[train], limit, seed=config.split_seed, stream=LIMIT)
        train = train[chosen]
    return train, val


def take(split: Split, position: Tensor) -> Split:
    """The images at rising positions [n]; copied, unless they are all of them."""
    if len(position) == len(split):
        return split
    return Split(
        images=split.images.index_select(0, position),
        labels=split.labels.index_select(0, position),
    )
