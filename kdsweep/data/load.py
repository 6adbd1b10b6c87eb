"""From a configuration to a split dataset."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kdsweep.config import DataConfig
from kdsweep.data import cifar, digits, imagefolder
from kdsweep.data.dataset import Dataset
from kdsweep.data.splits import take, training_split

_SOURCES = {
    "digits": digits.open_digits,
    "cifar10": cifar.open_cifar,
    "cifar100": cifar.open_cifar,
    "imagefolder": imagefolder.open_folder,
}


def load_dataset(config: DataConfig, *, cache: Path) -> Dataset:
    """Read the images, or find them decoded in ``cache``, and split them.

    The digest is the sha256 of all pixels, all labels and the positions of the training and
    validation images: equal for equal data, wherever it lies and whatever its files are called.

    Raises:
        UserError: the data isn't there, can't be read or can't be split as asked.
    """
    source = _SOURCES[config.name](config, cache)
    train, val = training_split(source, config)
    digest = hashlib.sha256(source.digest.encode())
    for position in (train, val):
        digest.update(len(position).to_bytes(8, "little"))
        digest.update(position.numpy().tobytes())
    return Dataset(
        name=config.name,
        classes=source.classes,
        train=take(source.train, train),
        val=take(source.train, val),
        test=source.test,
        digest=digest.hexdigest(),
    )
