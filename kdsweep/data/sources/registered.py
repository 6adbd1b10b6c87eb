"""Datasets of a user's own code: functions that were registered by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdsweep.config import DataConfig
from kdsweep.data.sources.base import PARTS, Found, PartName, folder_of
from kdsweep.data.sources.torch_datasets import TorchDataset, parts_of
from kdsweep.errors import KdsweepError, UserError, first_line
from kdsweep.registry import Registry

DatasetFunction = Callable[..., TorchDataset | None]
DATASETS: Registry[DatasetFunction] = Registry("dataset")


def register_dataset(
    name: str, *, help: str | None = None
) -> Callable[[DatasetFunction], DatasetFunction]:
    """Make a function known as ``data=registered data.name=NAME``.

    The function is called as ``function(root, split, **options)``: with ``data.root`` (a path, or
    None where it is null), with "train", "val" and "test" in turn, and with ``data.options``. It
    returns a ``torch.utils.data.Dataset``, or None for a split that there is not: without "val"
    and "test", both are taken of the training images. An item is an image and its label: an
    image of Pillow's or a uint8 array or tensor [H, W], [H, W, C] or [C, H, W] of any size, and a
    whole number from 0. ``classes``, if the training dataset has it, names the classes.

    Args:
        name: as in the configuration.
        help: a sentence for ``--help``; None: the docstring's first paragraph.

    Raises:
        UserError: the name is taken.
    """
    return DATASETS.add(name, help=help)


def find_registered(config: DataConfig, cache: Path) -> Found:
    """The images of a registered function.

    Nothing tells whether they have changed but themselves, so every process reads all of them
    once.

    Raises:
        UserError: no such function, or what it gives are no labelled images.
    """
    if config.name not in DATASETS and not DATASETS.names():
        raise UserError(
            f"{config.given}: no dataset is registered; plugins=[MODULE] imports a module that "
            "registers one"
        )
    function = DATASETS.get(config.name, given=config.given)
    datasets: dict[PartName, TorchDataset] = {}
    for part in PARTS:
        dataset = _call(function, config, part)
        if dataset is not None:
            datasets[part] = dataset
    if "train" not in datasets:
        raise UserError(f"{config.given}: gives None for train; allowed is a dataset")
    names = getattr(datasets["train"], "classes", None)
    parts, content = parts_of(
        datasets,
        config,
        names=None if names is None else [str(name) for name in names],
        threads=1,  # a user's code need not bear several at once
    )
    return Found(folder=folder_of(config, content), read=parts.pictures)


def _call(function: DatasetFunction, config: DataConfig, part: str) -> TorchDataset | None:
    root = None if config.root is None else Path(config.root).expanduser()
    options: dict[str, Any] = config.options
    try:
        inspect.signature(function).bind(root, part, **options)
    except TypeError as error:
        raise UserError(
            f"data.options={options}: {config.name}(root, split, **options) can't be called with "
            f"them ({error})"
        ) from error
    try:
        dataset = function(root, part, **options)
    except KdsweepError:
        raise
    except Exception as error:  # whatever a user's code raises
        line = first_line(error)
        raise UserError(
            f"{config.given}: {part} can't be had ({type(error).__name__}: {line}); return None "
            "for a split that there is not"
        ) from error
    if dataset is not None and not (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    ):
        raise UserError(
            f"{config.given}: gives a {type(dataset).__name__} for {part}; allowed is a dataset "
            "with a length and items by number, or None"
        )
    return dataset
