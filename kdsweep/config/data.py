"""Which images, how they are split, and how they are augmented."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from kdsweep.config.checks import choice, non_negative, positive, require, seed


@dataclass(kw_only=True)
class ViewsConfig:
    """Random augmentation of a training image; ``padding`` and ``flip`` alone are discrete."""

    padding: int = 4  # pixels of zero padding before the random crop
    flip: bool = True  # mirror an image left to right, or not, at random
    erase: float = 0.0  # probability of random erasing
    mixup: float = 0.0  # Beta(mixup, mixup); 0 is off

    def __post_init__(self) -> None:
        require(0 <= self.padding <= 16, "data.views.padding", self.padding, "0 to 16")
        require(0 <= self.erase <= 1, "data.views.erase", self.erase, "0 to 1")
        non_negative("data.views.mixup", self.mixup)


@dataclass(kw_only=True)
class DataConfig:
    """A labelled image dataset and how it is split."""

    name: str = "digits"  # which dataset
    root: str | None = None  # where the files are, or are downloaded to
    download: bool = True  # fetch what is missing
    mirror: str | None = None  # URL that replaces the dataset's own
    image_size: int = 32  # pixels, height and width
    val_fraction: float = 0.1  # of the training images, stratified by class
    split_seed: int = 0  # of the split into training and validation images
    train_limit: int | None = None  # keep so many training images, for short runs
    # of each channel (0 to 1), which is subtracted
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    # of each channel, which is divided by
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    views: ViewsConfig = field(default_factory=ViewsConfig)

    def __post_init__(self) -> None:
        choice("data.name", self.name, ("digits", "cifar10", "cifar100", "imagefolder"))
        require(
            self.name != "imagefolder" or bool(self.root),
            "data.root",
            self.root,
            "a folder that holds train/<class>/* and test/<class>/*",
        )
        require(8 <= self.image_size <= 512, "data.image_size", self.image_size, "8 to 512")
        require(
            0 <= self.val_fraction < 1, "data.val_fraction", self.val_fraction, "0 up to below 1"
        )
        if self.train_limit is not None:
            positive("data.train_limit", self.train_limit)
        seed("data.split_seed", self.split_seed)
        for key, values in (("mean", self.mean), ("std", self.std)):
            ok = len(values) == 3 and all(map(math.isfinite, values))
            require(ok, f"data.{key}", values, "three numbers, one per channel")
        require(min(self.std) > 0, "data.std", self.std, "three numbers above 0")
