"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), downloaded and checked by torchvision."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import numpy as np
import torch
from numpy.typing import NDArray

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures, cached, locked
from kdsweep.data.dataset import Source
from kdsweep.errors import UserError
from kdsweep.store import writable

_TIMEOUT = 30.0  # seconds without an answer
_UNREACHABLE = (URLError, ConnectionError, TimeoutError, HTTPException, RecursionError)


def open_cifar(config: DataConfig, cache: Path) -> Source:
    """Open 50,000 training and 10,000 test images of 10 or 100 classes.

    They come from ``data.root`` (``cache`` itself by default), where torchvision unpacks the
    archive that lies there or that it downloads. ``data.mirror`` is the address of another copy
    of the archive, or of the folder that it is in; it must pass the same checksums. Another
    ``image_size`` than 32 is reached by antialiased bilinear resizing, once. The cached arrays
    need neither ``data.root`` nor torchvision any more.

    Raises:
        UserError: there is no network, the archive is damaged, or a disk can't be written.
    """
    folder = cache / f"{config.name}-{config.image_size}"
    return cached(folder, lambda: _make(config, cache))


def _make(config: DataConfig, cache: Path) -> Pictures:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind: Any = {"cifar10": CIFAR10, "cifar100": CIFAR100}[config.name]
    if config.mirror is not None:
        if not config.mirror.startswith(("http://", "https://")):
            raise UserError(
                f"data.mirror={config.mirror}: allowed is a URL such as "
                f"https://host/{kind.filename}"
            )
        url = config.mirror
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
    return Pictures(
        classes=tuple(train.classes),
        labels=np.array(train.targets + test.targets, dtype=np.int64),
        train=len(train),
        size=config.image_size,
        blocks=_resized(np.concatenate([train.data, test.data]), config.image_size),
    )


def _fetch(config: DataConfig, kind: Any, root: Path) -> None:
    """Unpack the archive under ``root``, after downloading it where it isn't there yet."""
    from torchvision.datasets.utils import check_integrity

    archive = root / kind.filename
    key = f"data={config.name}"
    instead = (
        f"put {kind.filename} at {archive}, set data.mirror to a URL that has it, or use "
        "data=imagefolder or data=digits"
    )
    here = check_integrity(archive, kind.tgz_md5)
    if not here and not config.download:
        found = "fails its checksum" if archive.is_file() else "isn't there"
        raise UserError(
            f"{key}: {archive} {found} and data.download=false: allow the download, or {instead}"
        )
    try:
        with _answers_within(_TIMEOUT), writable(root), warnings.catch_warnings():
            # torchvision unpacks what its checksum knows, so no member of it needs a filter.
            warnings.filterwarnings("ignore", "Python 3.14 will", DeprecationWarning)
            try:
                kind(root, download=True)
            except HTTPError as error:
                error.close()
                raise UserError(
                    f"{key}: {kind.url} can't be had (HTTP {error.code} {error.reason}): {instead}"
                ) from error
            except _UNREACHABLE as error:
                reason = getattr(error, "reason", error)
                raise UserError(
                    f"{key}: no network, or none that reaches {kind.url} ({reason}): {instead}"
                ) from error
    except RuntimeError as error:
        archive.unlink(missing_ok=True)
        raise UserError(
            f"{key}: what {kind.url} sent is incomplete or fails its checksum: {instead}"
        ) from error


@contextmanager
def _answers_within(seconds: float) -> Iterator[None]:
    """Give up on a network that swallows packets; urllib alone would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _resized(images: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    """Uint8 [n, h, w, 3] to blocks of uint8 [m, 3, size, size]."""
    for start in range(0, len(images), 1000):
        block = images[start : start + 1000].transpose(0, 3, 1, 2)
        if block.shape[-1] != size:
            pixels = torch.from_numpy(np.ascontiguousarray(block))
            block = torch.nn.functional.interpolate(
                pixels, size=(size, size), mode="bilinear", antialias=True
            ).numpy()
        yield block
