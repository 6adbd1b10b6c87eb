"""What a dataset is once it has been read: uint8 images, labels, and a name for its content."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Split:
    """Labelled images on the CPU; memory-mapped where they are a whole part of a cached array."""

    images: Tensor  # uint8 [n, 3, H, W]
    labels: Tensor  # int64 [n]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset as it came: before validation images are taken out of its training images.

    ``val`` and ``test`` are empty where the source has no such images.
    """

    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    digest: str  # sha256, hexadecimal, of pixels and labels


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset, split for training, selection and the final judgement."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    digest: str  # sha256, hexadecimal, of pixels, labels and split
