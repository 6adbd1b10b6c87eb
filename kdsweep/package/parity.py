"""Whether every file answers as the trained network does, and that as it did in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdsweep.errors import KdsweepError
from kdsweep.package.classifier import Logits, Model, Pixels

BATCH = 256
RANDOM_IMAGES = 33  # in batches of several sizes
FILES = 1e-4  # of the largest logit: what sums in another order may differ by
# The same, between training and this machine's float32. Training on a GPU is in bf16 unless it
# was set otherwise, and a record does not say which machine it was.
TRAINING = {"auto": 5e-2, "bf16": 5e-2, "tf32": 2e-2, "float32": 1e-3, "float64": 1e-3}


def answers(model: Model, images: Pixels) -> Logits:
    """Logits [n, K] of images [n, 3, H, W], batch by batch."""
    return np.concatenate(
        [model(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    )


def random_images(size: int) -> Pixels:
    """Uint8 noise [n, 3, size, size], the same each time."""
    drawn = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, 3, size, size))
    return drawn.astype(np.uint8)


def check_file(name: str, model: Model, images: Pixels, wanted: Logits) -> None:
    """See that a file gives the logits that PyTorch gives.

    Args:
        name: what runs the file, for the error.
        model: the file, as it was read back.
        images: [n, 3, H, W]; one of them is also answered alone.
        wanted: [n, K].

    Raises:
        KdsweepError: it does not.
    """
    found = answers(model, images)
    alone = model(images[:1])
    allowed = FILES * max(float(np.abs(wanted).max()), 1e-3)
    far = max(float(np.abs(found - wanted).max()), float(np.abs(alone - wanted[:1]).max()))
    if not far <= allowed:  # NaN is far, too
        raise KdsweepError(
            f"{name}: its logits differ from PyTorch's by {far:.2g} where rounding allows "
            f"{allowed:.2g}; nothing was written: leave it out of formats="
        )


def check_training(
    logits: Logits, right: NDArray[np.bool_], labels: NDArray[np.int64], *, precision: str
) -> str:
    """See that a model has the images right that it had right after training; in words.

    An image counts as the same where its two likeliest classes are nearer to each other than the
    precision of training tells apart.

    Args:
        logits: [n, K], of the evaluation images.
        right: [n], as training has left it.
        labels: [n].
        precision: that it was trained with, as ``train.precision`` has it.

    Raises:
        KdsweepError: there are other images, or other answers.
    """
    if not len(logits) == len(right) == len(labels):
        raise KdsweepError(
            f"there are {len(labels):,} images where {len(right):,} were evaluated in training: "
            "the data has changed since; put it back as it was"
        )
    differing = (logits.argmax(1) == labels) != right
    two = np.sort(logits, axis=1)[:, -2:]
    near = two[:, 1] - two[:, 0] <= TRAINING[precision] * np.abs(logits).max()
    wrong = int((differing & ~near).sum())
    if wrong:
        raise KdsweepError(
            f"{wrong:,} of {len(labels):,} images are answered otherwise than in training: the "
            "weights, the data or the code have changed since; nothing was written"
        )
    same = int((~differing).sum())
    line = f"{same:,} of {len(labels):,}"
    if same < len(labels):
        line += f" (the others lie between two classes, within the rounding of {precision})"
    return line
