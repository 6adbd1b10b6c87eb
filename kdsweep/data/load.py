"""From a configuration to a split dataset."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kdsweep.config import DataConfig
from kdsweep.data.arrays import cached
from kdsweep.data.dataset import Dataset
from kdsweep.data.sources import find_images
from kdsweep.data.splits import positions, take


def load_dataset(config: DataConfig, *, cache: Path) -> Dataset:
    """Read the images, or find them decoded in ``cache``, and split them.

    The digest is the sha256 of all pixels, all labels and the positions of the training and
    validation images, and of test images that were taken out of them: equal for equal data,
    wherever it lies and whatever its files are called.

    Raises:
        UserError: the data isn't there, can't be read or can't be split as asked.
    """
    found = find_images(config, cache)
    source = cached(cache / found.folder, found.read)
    at = positions(source, config)
    own = len(source.val) > 0 and config.val_fraction is None
    digest = hashlib.sha256(source.digest.encode())
    for position in (at.train, at.val, at.test)[: 3 if len(at.test) else 2]:
        digest.update(len(position).to_bytes(8, "little"))
        digest.update(position.numpy().tobytes())
    if own:
        digest.update(b"its own validation images")
    return Dataset(
        name=config.name,
        classes=source.classes,
        train=take(source.train, at.train),
        val=source.val if own else take(source.train, at.val),
        test=source.test if len(source.test) else take(source.train, at.test),
        digest=digest.hexdigest(),
    )
