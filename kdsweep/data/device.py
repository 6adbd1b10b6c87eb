"""What every training on one dataset shares: its images, views and labels, on the device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from kdsweep.config import Config, DataConfig
from kdsweep.data import Dataset, Split, Views, load_dataset, normalise
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.store import digest


@dataclass(frozen=True, kw_only=True)
class EvaluationImages:
    """The images that a population is judged on after each epoch, on the device."""

    name: str  # validation or test
    images: Tensor  # uint8 [n, C, H, W]
    labels: Tensor  # int64 [n]
    normalise: Normalise

    @property
    def prefix(self) -> str:
        """In front of metric names: val_accuracy, test_accuracy."""
        return "val" if self.name == "validation" else self.name


class Normalise(Protocol):
    """Turns uint8 images into the floats that a network reads."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] to floats of the same shape."""
        ...


@dataclass(frozen=True, kw_only=True)
class DeviceDataset:
    """One dataset made ready for one device."""

    host: Dataset
    digest: str  # of the pixels, the split and the views
    labels: Tensor  # of the training images, int64 [n], on the device
    evaluation: EvaluationImages  # validation; test in the published protocol
    test: EvaluationImages
    make_views: Callable[[], Views]

    @cached_property
    def views(self) -> Views:
        """The training images' views, made when they are first asked for."""
        return self.make_views()

    @property
    def classes(self) -> int:
        """K."""
        return len(self.host.classes)


class Datasets:
    """Datasets on their devices, the latest few that were asked for.

    Args:
        limit: how many are kept; each holds its images and, once it trains, all of its views.
    """

    def __init__(self, limit: int = 2) -> None:
        self.limit = limit
        self.kept: OrderedDict[tuple[str, Hardware], DeviceDataset] = OrderedDict()

    def load(self, config: Config, hardware: Hardware) -> DeviceDataset:
        """Load a dataset and put it on the device, unless it is kept.

        Raises:
            UserError: the dataset can't be had as it was asked for.
        """
        key = (digest(config.root, config.data, config.evaluate.protocol), hardware)
        if key not in self.kept:
            while len(self.kept) >= self.limit:  # before the next one takes memory
                self.kept.popitem(last=False)
            self.kept[key] = _prepare(config, hardware)
        self.kept.move_to_end(key)
        require_test_images(config, self.kept[key].host)
        images = len(self.kept[key].labels)
        if config.train.batch_size > images:
            raise UserError(
                f"train.batch_size={config.train.batch_size}: allowed is 2 to {images}, the "
                "number of training images"
            )
        return self.kept[key]


def _prepare(config: Config, hardware: Hardware) -> DeviceDataset:
    data = config.data
    dataset = load_dataset(data, cache=_cache(config))
    if len(dataset.classes) < 2:
        raise UserError(f"{data.given}: has one class, {dataset.classes[0]}; allowed is 2 or more")
    published = config.evaluate.protocol == "published"
    if not published and not len(dataset.val.labels):
        raise UserError(
            f"data.val_fraction={data.val_fraction}: leaves no validation image of "
            f"{len(dataset.train.labels)}; raise it, or use more images"
        )
    test = _evaluation("test", dataset.test, data, hardware)
    return DeviceDataset(
        host=dataset,
        digest=digest(dataset.digest, data.views, data.mean, data.std),
        labels=dataset.train.labels.to(hardware.device),
        evaluation=test if published else _evaluation("validation", dataset.val, data, hardware),
        test=test,
        make_views=partial(views_of, dataset.train, data, hardware),
    )


def require_test_images(config: Config, dataset: Dataset | None = None) -> None:
    """See that test can be opened where it is to be.

    Args:
        config: which says so.
        dataset: its own; None: it is loaded.

    Raises:
        UserError: test is to be opened, and there are no test images.
    """
    dataset = dataset or load_dataset(config.data, cache=_cache(config))
    published = config.evaluate.protocol == "published"
    if (config.evaluate.test or published) and not len(dataset.test):
        asked = "evaluate.protocol=published" if published else "a confirmation"
        raise UserError(
            f"{config.data.given}: has no test images, and {asked} is judged on them: add some, "
            "or take them of the training images by data.test_fraction, in a new study, whose "
            "networks have not seen them"
        )


def _cache(config: Config) -> Path:
    return Path(config.root) / "store" / "images"


def views_of(split: Split, data: DataConfig, hardware: Hardware) -> Views:
    """The views of a split's images, on the device."""
    return Views(
        split.images,
        data,
        device=hardware.device,
        dtype=hardware.dtype,
        channels_last=hardware.channels_last,
    )


def _evaluation(name: str, split: Split, data: DataConfig, hardware: Hardware) -> EvaluationImages:
    return EvaluationImages(
        name=name,
        images=torch.as_tensor(split.images).to(hardware.device),
        labels=split.labels.to(hardware.device),
        normalise=partial(normalise, config=data, dtype=hardware.dtype),
    )
