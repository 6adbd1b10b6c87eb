"""Parts made of torch's datasets, whose images and labels come in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from kdsweep.config import DataConfig
from kdsweep.data.sources.base import Part, PartName, Parts, content_of, image_hash
from kdsweep.data.sources.labels import as_labels
from kdsweep.errors import UserError, first_line


class TorchDataset(Protocol):
    """A map-style ``torch.utils.data.Dataset`` of pairs of an image and its label."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Unsteady(ValueError):
    """An image that was another one when it was read first."""


class _Images:
    """A dataset's images, which have to be the same whenever they are read."""

    def __init__(self, dataset: TorchDataset, hashes: list[bytes]) -> None:
        self.dataset = dataset
        self.hashes = hashes

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, index: int) -> object:
        image = self.dataset[index][0]
        if image_hash(image) != self.hashes[index]:
            raise Unsteady("another image each time; leave random augmentation to data.views")
        return image


def parts_of(
    datasets: Mapping[PartName, TorchDataset],
    config: DataConfig,
    *,
    names: list[str] | None,
    threads: int,
) -> tuple[Parts, str]:
    """The parts of some datasets, and the hash of their content: all of them is read for it.

    Args:
        datasets: of each part, with the same classes.
        config: what asked for them.
        names: of the classes; None: their numbers.
        threads: 1 where a dataset can't be read by several at once.

    Raises:
        UserError: what a dataset gives is no pair of an image and a label.
    """
    parts, digests = {}, {}
    for part, dataset in datasets.items():
        read = partial(_pair, dataset, config, part)
        with ThreadPoolExecutor(threads) as pool:
            pairs = list(pool.map(read, range(len(dataset))))
        digests[part] = [one for _, one in pairs]
        labels = as_labels([label for label, _ in pairs], f"{config.given}: {part}")
        parts[part] = Part(images=_Images(dataset, digests[part]), labels=labels)
    made = Parts(config=config, parts=parts, names=names, threads=threads)
    return made, content_of(made, digests)


def _pair(dataset: TorchDataset, config: DataConfig, part: str, index: int) -> tuple[Any, bytes]:
    """An image's label and hash."""
    try:
        given = dataset[index]
    except Exception as error:  # whatever another's code raises
        line = first_line(error)
        raise UserError(
            f"{config.given}: {part} image {index} can't be read ({type(error).__name__}: {line})"
        ) from error
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(
            f"{config.given}: {part} item {index} is a {type(given).__name__}; allowed is a pair "
            "of an image and its label"
        )
    image, label = given
    return label.item() if hasattr(label, "item") else label, image_hash(image)
