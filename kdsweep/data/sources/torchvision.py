"""torchvision's datasets for classification, by name."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures, locked
from kdsweep.data.decode import THREADS
from kdsweep.data.sources.base import Found, PartName, Parts, Stamp, folder_of, remembered
from kdsweep.data.sources.download import downloading, web_address
from kdsweep.data.sources.torch_datasets import TorchDataset, parts_of
from kdsweep.errors import UserError, first_line
from kdsweep.registry import did_you_mean

Arguments = Mapping[PartName, Mapping[str, object]]

_FLAG: Arguments = {"train": {"train": True}, "test": {"train": False}}
_TWO: Arguments = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Arguments = {**_TWO, "val": {"split": "val"}}
_WHOLE: Arguments = {"train": {}}

# What each part of a dataset is asked for with.
DATASETS: dict[str, Arguments] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST", "USPS"), _FLAG),
    "QMNIST": _FLAG,
    "EMNIST": {part: {"split": "balanced", **flag} for part, flag in _FLAG.items()},
    **dict.fromkeys(("SVHN", "STL10", "GTSRB", "Food101", "StanfordCars"), _TWO),
    **dict.fromkeys(("Flowers102", "DTD", "FGVCAircraft", "RenderedSST2"), _THREE),
    "Country211": {**_TWO, "val": {"split": "valid"}},
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "Imagenette": {"train": {"split": "train"}, "val": {"split": "val"}},
    **dict.fromkeys(("EuroSAT", "Caltech101", "Caltech256", "SEMEION", "SUN397"), _WHOLE),
}


def find_torchvision(config: DataConfig, cache: Path) -> Found:
    """A dataset of torchvision, under ``data.root``, where it downloads it.

    Its content is hashed again only when a file below ``data.root`` has changed. One without
    parts is split; see ``kdsweep.data.splits``.

    Raises:
        UserError: no such dataset, or it is not there and can't be downloaded, or is damaged.
    """
    if config.name not in DATASETS:
        raise UserError(
            f"{config.given}: allowed is one of {', '.join(DATASETS)}"
            f"{did_you_mean(config.name, DATASETS)}"
        )
    root = Path(config.root).expanduser().resolve() if config.root else cache / "torchvision"

    read = functools.cache(functools.partial(_read, config, root))  # once, and only where needed
    content = remembered(
        cache, f"torchvision-{config.name}", lambda: _stamps(root), lambda: read()[1]
    )

    def pictures() -> Pictures:
        return read()[0].pictures()

    return Found(folder=folder_of(config, content), read=pictures)


def _read(config: DataConfig, root: Path) -> tuple[Parts, str]:
    """The parts, and the hash of their content."""
    datasets = _open(config, root)
    names = getattr(datasets["train"], "classes", None)
    return parts_of(
        datasets, config, names=list(map(str, names)) if names else None, threads=THREADS
    )


def _open(config: DataConfig, root: Path) -> dict[PartName, TorchDataset]:
    """The dataset of each part, downloaded where that is needed and allowed."""
    import torchvision

    kind = getattr(torchvision.datasets, config.name)
    if config.mirror is not None:
        url = web_address(config.mirror, "https://host/folder/")
        if not hasattr(kind, "mirrors"):
            raise UserError(
                f"data.mirror={config.mirror}: allowed is null with {config.given}, which "
                f"torchvision has from one place; put its files in {root}"
            )
        kind = type(config.name, (kind,), {"mirrors": [f"{url.rstrip('/')}/"]})
    make = functools.partial(_make, kind, config, root)
    try:
        return make(download=False)
    except (RuntimeError, FileNotFoundError) as error:
        if not config.download:
            raise UserError(
                f"{config.given}: isn't whole in {root} and data.download=false: allow the "
                "download, or put its files there"
            ) from error
    instead = f"put its files in {root}, where torchvision looks for them; remove damaged ones"
    with locked(root / f".{config.name}.lock"):
        try:
            with downloading(config.given, what="its address", root=root, instead=instead):
                return make(download=True)
        except (RuntimeError, ImportError) as error:
            line = " ".join(str(error).split())
            raise UserError(f"{config.given}: can't be had ({line}): {instead}") from error


def _make(
    kind: Any, config: DataConfig, root: Path, *, download: bool
) -> dict[PartName, TorchDataset]:
    """Every part, by torchvision's class."""
    try:
        return {
            part: kind(root, download=download, **arguments)
            for part, arguments in DATASETS[config.name].items()
        }
    except (RuntimeError, OSError, ImportError):
        raise
    except Exception as error:  # whatever a damaged file makes torchvision raise
        line = first_line(error)
        raise UserError(
            f"{config.given}: its files in {root} are damaged ({type(error).__name__}: {line}); "
            "remove them, and they are downloaded again"
        ) from error


def _stamps(root: Path) -> Iterator[Stamp]:
    """Of every file below ``root``, but for hidden ones such as locks."""
    for folder, _, files in os.walk(root):
        for name in files:
            if not name.startswith("."):
                path = os.path.join(folder, name)
                stat = os.stat(path)
                yield path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
