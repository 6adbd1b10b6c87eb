"""A picture that goes with a package, and what the model has to answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsweep.package.classifier import Logits, Pixels, answer

FILE = "sample.png"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An evaluation image, written as it is.

    Attributes:
        split: of which images it is one.
        label: its true class.
        line: what ``kdsweep.predict`` prints of it.
    """

    split: str
    label: str
    line: str

    @property
    def right(self) -> bool:
        """Whether the model answers its true class."""
        return self.line.startswith(f"{FILE}: {self.label} (")


def write_sample(
    folder: Path,
    pixels: Pixels,
    labels: NDArray[np.int64],
    logits: Logits,
    *,
    classes: tuple[str, ...],
    split: str,
) -> Sample:
    """Write the first image that the model has right, or the first of all, as a PNG file.

    Args:
        folder: of the package.
        pixels: uint8 [n, 3, H, W].
        labels: [n].
        logits: [n, K], the model's.
        classes: the names, [K].
        split: of which images these are.
    """
    from PIL import Image

    number = int((logits.argmax(1) == labels).argmax())
    Image.fromarray(np.ascontiguousarray(pixels[number].transpose(1, 2, 0))).save(folder / FILE)
    line = answer(FILE, logits[number], classes)
    return Sample(split=split, label=classes[labels[number]], line=line)
