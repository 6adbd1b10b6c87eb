"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), downloaded and checked by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures, locked
from kdsweep.data.sources.base import Found, Part, Parts
from kdsweep.data.sources.download import downloading, web_address
from kdsweep.errors import UserError


def find_cifar(config: DataConfig, cache: Path) -> Found:
    """50,000 training and 10,000 test images of 10 or 100 classes.

    They come from ``data.root`` (``cache`` itself by default), where torchvision unpacks the
    archive that lies there or that it downloads. ``data.mirror`` is the address of another copy
    of the archive, or of the folder that it is in; it must pass the same checksums. The cached
    arrays need neither ``data.root`` nor torchvision any more.

    Raises:
        UserError: when they are read: there is no network, or the archive is damaged.
    """
    return Found(folder=f"{config.name}-{config.image_size}", read=lambda: _read(config, cache))


def _read(config: DataConfig, cache: Path) -> Pictures:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind: Any = {"cifar10": CIFAR10, "cifar100": CIFAR100}[config.name]
    if config.mirror is not None:
        url = web_address(config.mirror, f"https://host/{kind.filename}")
        if not urlsplit(url).path.endswith((".gz", ".tgz")):
            url = f"{url.rstrip('/')}/{kind.filename}"
        kind = type(kind.__name__, (kind,), {"url": url})
    root = Path(config.root).expanduser() if config.root else cache
    try:
        train = kind(root, train=True)
    except RuntimeError:  # not there, or not whole
        with locked(root / f".{kind.filename}.lock"):
            _fetch(config, kind, root)
        train = kind(root, train=True)
    test = kind(root, train=False)
    return Parts(
        config=config,
        parts={
            "train": Part(images=train.data, labels=np.array(train.targets, dtype=np.int64)),
            "test": Part(images=test.data, labels=np.array(test.targets, dtype=np.int64)),
        },
        names=train.classes,
    ).pictures()


def _fetch(config: DataConfig, kind: Any, root: Path) -> None:
    """Unpack the archive under ``root``, after downloading it where it isn't there yet."""
    from torchvision.datasets.utils import check_integrity

    archive = root / kind.filename
    instead = (
        f"put {kind.filename} at {archive}, set data.mirror to a URL that has it, or use "
        "data=imagefolder or data=digits"
    )
    here = check_integrity(archive, kind.tgz_md5)
    if not here and not config.download:
        found = "fails its checksum" if archive.is_file() else "isn't there"
        raise UserError(
            f"{config.given}: {archive} {found} and data.download=false: allow the download, or "
            f"{instead}"
        )
    try:
        with downloading(config.given, what=kind.url, root=root, instead=instead):
            kind(root, download=True)
    except RuntimeError as error:
        archive.unlink(missing_ok=True)
        raise UserError(
            f"{config.given}: what {kind.url} sent is incomplete or fails its checksum: {instead}"
        ) from error
