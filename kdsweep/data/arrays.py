"""Decoded images on disk: made once, written atomically, memory-mapped ever after.

A folder holds ``images.npy`` (uint8 [n, 3, H, W], the training images first, then those that are
the source's own for validation, then test), ``labels.npy`` (int64 [n]) and ``meta.json`` (class
names, numbers of training and validation images, sha256 of the content).
Who opens it computes the sha256 again: of damaged images no network learns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from kdsweep.data.dataset import Source, Split
from kdsweep.store import DamagedError, load_json, sync, with_checksum, writable

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A dataset on its way to disk; ``blocks`` is read once, from the first image to the last."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # [n], the training images first, then validation, then test
    train: int  # how many of them are for training
    val: int = 0  # how many after those are for validation
    size: int  # pixels, height and width
    blocks: Iterable[NDArray[np.uint8]]  # each [m, 3, size, size]; n images in all


def cached(folder: Path, make: Callable[[], Pictures]) -> Source:
    """Open the arrays in ``folder``, after making them if they are absent or damaged.

    Of several processes that come at once, one makes the arrays and the others wait for it. An
    existing folder is only read, so it may lie on a read-only disk.

    Raises:
        UserError: ``folder`` can't be written.
    """
    try:
        source = _read(folder)
    except DamagedError as error:
        log.warning("%s: the cached images are damaged (%s), they are made again", folder, error)
        source = None
    if source is not None:
        return source
    with locked(folder.with_name(f".{folder.name}.lock")):
        with contextlib.suppress(DamagedError):
            source = _read(folder)  # another process may have made them meanwhile
        if source is None:
            _write(folder, make())
            source = _read(folder)
    assert source is not None
    return source


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the system frees it if its owner dies.

    Raises:
        UserError: its folder can't be written.
    """
    lock = FileLock(path)
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(folder: Path, pictures: Pictures) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        with writable(folder.parent):
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            partial.mkdir()
            stream = (partial / "images.npy").open("wb")
        with stream:
            digest = _write_images(stream, pictures, folder)
        meta = {
            "classes": pictures.classes,
            "train": pictures.train,
            "val": pictures.val,
            "digest": _with_labels(digest, pictures.labels, pictures.train, pictures.val),
        }
        with writable(folder.parent):
            with (partial / "labels.npy").open("wb") as stream:
                np.save(stream, pictures.labels)
                _flush(stream)
            with (partial / "meta.json").open("wb") as stream:
                stream.write(json.dumps(with_checksum(meta), indent=1).encode())
                _flush(stream)
            sync(partial)
            shutil.rmtree(folder, ignore_errors=True)  # damaged
            partial.rename(folder)
            sync(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_images(stream: BinaryIO, pictures: Pictures, folder: Path) -> hashlib._Hash:
    """Write block after block, never through a memory map: a full disk must be an error."""
    shape = (len(pictures.labels), 3, pictures.size, pictures.size)
    digest = hashlib.sha256(str(shape).encode())
    with writable(folder.parent):
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
    count = 0
    for block in pictures.blocks:
        assert block.shape[1:] == shape[1:]
        assert block.dtype == np.uint8
        count += len(block)
        pixels = np.ascontiguousarray(block).data
        digest.update(pixels)
        with writable(folder.parent):
            stream.write(pixels)
    assert count == len(pictures.labels)
    with writable(folder.parent):
        _flush(stream)
    return digest


def _flush(stream: BinaryIO) -> None:
    """Reach the disk before the rename does, so that a power cut leaves no empty arrays."""
    stream.flush()
    os.fsync(stream.fileno())


def _with_labels(pixels: hashlib._Hash, labels: NDArray[np.int64], train: int, val: int) -> str:
    """The digest of a dataset, from that of its shape and pixels."""
    pixels.update(labels.tobytes())
    pixels.update(str(train).encode())
    if val:
        pixels.update(f"+{val}".encode())
    return pixels.hexdigest()


def _read(folder: Path) -> Source | None:
    """The arrays in a folder; None where there is none.

    Raises:
        DamagedError: they are not what was written.
    """
    if not folder.is_dir():
        return None
    try:
        meta = load_json(folder / "meta.json", checked=True)
        # Copy on write: torch wants memory that looks writable, the file stays as it is.
        images = np.load(folder / "images.npy", mmap_mode="c")
        labels = np.load(folder / "labels.npy")
    except (OSError, ValueError, EOFError) as error:
        raise DamagedError(f"{error}") from error
    if meta is None:
        raise DamagedError("no meta.json")
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    train, val = int(meta["train"]), int(meta.get("val", 0))
    same = _with_labels(digest, labels, train, val) == meta["digest"]
    if not same or images.dtype != np.uint8 or labels.dtype != np.int64:
        raise DamagedError("their sha256 is another")
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    return Source(
        classes=tuple(meta["classes"]),
        train=Split(images=images[:train], labels=labels[:train]),
        val=Split(images=images[train : train + val], labels=labels[train : train + val]),
        test=Split(images=images[train + val :], labels=labels[train + val :]),
        digest=meta["digest"],
    )
