"""scikit-learn's handwritten digits: 1,797 real images that need no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures, cached
from kdsweep.data.dataset import Source
from kdsweep.data.splits import TEST, stratified

TEST_FRACTION = 0.2


def open_digits(config: DataConfig, cache: Path) -> Source:
    """Open the digits: 1,438 training and 359 test images, the same for every ``split_seed``.

    The 8 x 8 images with values 0 to 16 are scaled to 0 to 255, centred on a black square of
    ``image_size`` pixels and repeated over three channels. A fifth of each class is for testing.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), test part.

    Raises:
        UserError: ``cache`` can't be written.
    """
    folder = cache / f"digits-{config.image_size}"
    return cached(folder, lambda: _make(config.image_size))


def _make(size: int) -> Pictures:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    before = (size - grey.shape[1]) // 2
    after = size - grey.shape[1] - before
    padded = np.pad(grey, ((0, 0), (before, after), (before, after)))

    labels = torch.from_numpy(bunch.target.astype(np.int64))
    count = round(TEST_FRACTION * len(labels))
    test = stratified(labels, count, seed=0, stream=TEST).numpy()
    train = np.setdiff1d(np.arange(len(labels)), test)
    order = np.concatenate([train, test])
    return Pictures(
        classes=tuple(str(name) for name in bunch.target_names),
        labels=labels.numpy()[order],
        train=len(train),
        size=size,
        blocks=[np.repeat(padded[order][:, None], 3, axis=1)],
    )
