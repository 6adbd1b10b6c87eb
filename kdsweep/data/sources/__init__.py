"""Where images come from: a function for each source, which finds them before they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kdsweep.config import DataConfig
from kdsweep.data.sources.base import Found
from kdsweep.data.sources.cifar import find_cifar
from kdsweep.data.sources.digits import find_digits
from kdsweep.data.sources.huggingface import find_huggingface
from kdsweep.data.sources.imagefolder import find_folder
from kdsweep.data.sources.npz import find_arrays
from kdsweep.data.sources.registered import find_registered, register_dataset
from kdsweep.data.sources.torchvision import find_torchvision

__all__ = ["find_images", "register_dataset"]

_FIND: dict[str, Callable[[DataConfig, Path], Found]] = {
    "digits": find_digits,
    "cifar10": find_cifar,
    "cifar100": find_cifar,
    "imagefolder": find_folder,
    "arrays": find_arrays,
    "torchvision": find_torchvision,
    "huggingface": find_huggingface,
    "registered": find_registered,
}


def find_images(config: DataConfig, cache: Path) -> Found:
    """Find the images that a configuration asks for; ``cache`` is where decoded ones are kept.

    Raises:
        UserError: they aren't there.
    """
    return _FIND[config.kind](config, cache)
