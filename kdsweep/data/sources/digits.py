"""scikit-learn's handwritten digits: 1,797 real images that need no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures
from kdsweep.data.sources.base import Found, Part, Parts
from kdsweep.data.splits import TEST, TEST_FRACTION, stratified


def find_digits(config: DataConfig, cache: Path) -> Found:
    """The digits: 1,438 training and 359 test images, the same for every ``split_seed``.

    The 8 x 8 images with values 0 to 16 are scaled to 0 to 255, centred on a black square of
    ``image_size`` pixels and repeated over three channels. A fifth of each class is for testing.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), test part.
    """
    return Found(folder=f"digits-{config.image_size}", read=lambda: _read(config))


def _read(config: DataConfig) -> Pictures:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    before = (config.image_size - grey.shape[1]) // 2
    after = config.image_size - grey.shape[1] - before
    padded = np.pad(grey, ((0, 0), (before, after), (before, after)))

    labels = bunch.target.astype(np.int64)
    count = round(TEST_FRACTION * len(labels))
    test = stratified(torch.from_numpy(labels), count, seed=0, stream=TEST).numpy()
    train = np.setdiff1d(np.arange(len(labels)), test)
    return Parts(
        config=config,
        parts={
            "train": Part(images=padded[train], labels=labels[train]),
            "test": Part(images=padded[test], labels=labels[test]),
        },
    ).pictures()
