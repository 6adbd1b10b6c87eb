"""Which images, how they are split, and how they are augmented."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

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


OWN = ("digits", "cifar10", "cifar100", "imagefolder", "arrays")
_ROOTS = {  # what needs one, and what it is
    "imagefolder": "a folder that holds train/<class>/* and test/<class>/*, or <class>/*",
    "arrays": "a .npz file that holds x_train, y_train, x_test, y_test, or images, labels",
}
_NAMES = {
    "torchvision": "the name of a dataset of torchvision, such as SVHN",
    "huggingface": "a name of the hub, such as ylecun/mnist, or a folder",
    "registered": "the name that a dataset was registered by, in a module of plugins=",
}


@dataclass(kw_only=True)
class DataConfig:
    """A labelled image dataset and how it is split."""

    source: str = "kdsweep"  # who knows the name: kdsweep, torchvision, huggingface, registered
    name: str = "digits"  # which dataset
    root: str | None = None  # where the files are, or are downloaded to
    download: bool = True  # fetch what is missing
    mirror: str | None = None  # URL that replaces the dataset's own
    subset: str | None = None  # huggingface: which configuration of a dataset that has several
    image_column: str | None = None  # huggingface; null: the only one of images
    label_column: str | None = None  # huggingface; null: the only one of class labels
    options: dict[str, Any] = field(default_factory=dict)  # registered: for its function
    image_size: int = 32  # pixels, height and width
    val_fraction: float | None = 0.1  # of training images, by class; null: its own, or 0.1
    test_fraction: float | None = None  # the same; null: its own, or 0.2 of one that has no parts
    test_seed: int = 0  # of the test images that are taken of the training images
    split_seed: int = 0  # of the validation images that are
    train_limit: int | None = None  # keep so many training images, for short runs
    # of each channel (0 to 1), which is subtracted
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    # of each channel, which is divided by
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    views: ViewsConfig = field(default_factory=ViewsConfig)

    def __post_init__(self) -> None:
        choice("data.source", self.source, ("kdsweep", *_NAMES))
        if self.source == "kdsweep":
            choice("data.name", self.name, OWN)
        else:
            require(bool(self.name), "data.name", self.name, _NAMES[self.source])
        if self.kind in _ROOTS:
            require(bool(self.root), "data.root", self.root, _ROOTS[self.kind])
        self._only("huggingface", "subset", "image_column", "label_column")
        self._only("registered", "options")
        if self.source == "huggingface":
            hub = "with data=huggingface, which reads HF_HUB_OFFLINE and HF_ENDPOINT"
            require(self.download, "data.download", self.download, f"true {hub}")
            require(self.mirror is None, "data.mirror", self.mirror, f"null {hub}")
        require(8 <= self.image_size <= 512, "data.image_size", self.image_size, "8 to 512")
        for name in ("val_fraction", "test_fraction"):
            fraction = getattr(self, name)
            if fraction is not None:
                require(0 <= fraction < 1, f"data.{name}", fraction, "0 up to below 1, or null")
        if self.train_limit is not None:
            positive("data.train_limit", self.train_limit)
        seed("data.split_seed", self.split_seed)
        seed("data.test_seed", self.test_seed)
        for key, values in (("mean", self.mean), ("std", self.std)):
            ok = len(values) == 3 and all(map(math.isfinite, values))
            require(ok, f"data.{key}", values, "three numbers, one per channel")
        require(min(self.std) > 0, "data.std", self.std, "three numbers above 0")

    @property
    def kind(self) -> str:
        """Which source the images are of: kdsweep's name of it."""
        return self.name if self.source == "kdsweep" else self.source

    @property
    def given(self) -> str:
        """What the user wrote to name the images, to begin an error."""
        if self.kind in _ROOTS:
            return f"data.root={self.root}"
        return f"data={self.name}" if self.source == "kdsweep" else f"data.name={self.name}"

    def _only(self, source: str, *keys: str) -> None:
        """Let nothing be set that only another source reads."""
        for key in keys:
            value = getattr(self, key)
            allowed = f"{'{}' if isinstance(value, dict) else 'null'} without data={source}"
            require(not value or self.source == source, f"data.{key}", value, allowed)
