"""The bank of a teacher's logits: two files that processes map into memory together.

``logits.f16`` (or ``.f32``) holds the logits [n, views, K]; ``checksums.u32`` [n, views] the crc32
of each (image, view) pair's, or 0 where there are none yet. The checksum is what says that a pair
is there: whatever a killed process, a power cut or a damaged disk leaves, a pair whose checksum is
not right is computed again. So neither file has to reach the disk before the other.
"""

from __future__ import annotations

import logging
import math
import os
import zlib
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.store import writable

log = logging.getLogger(__name__)

Index = NDArray[np.int64]
_CHECKSUMS = "checksums.u32"


class LogitBank:
    """The logits of one teacher for (image, view) pairs, on disk and on the device that reads.

    A pair is verified once by each process that reads it: when it first asks for it. On a device
    of its own memory, a copy holds the verified pairs, and each is copied once.

    Args:
        folder: belongs to this teacher, these images and this view space alone.
        shape: images, views, K.
        dtype: of the stored logits: float16, or float32 for a training in float64.
        device: where the logits are read.

    Raises:
        UserError: ``folder`` can't be written, or the disk has no room for a full bank.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int],
        *,
        dtype: np.dtype[Any],
        device: torch.device,
    ) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.lock = filelock.FileLock(folder / ".lock")
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with self.lock:
                self.checksums, self.logits = _open(folder, shape, dtype)
                self.inodes = self._inodes()
        self.verified = np.zeros(shape[:2], dtype=np.bool_)
        self.damage_is_logged = False
        self.copy: Tensor | None = None
        if device.type != "cpu":
            self.copy = torch.zeros(shape, dtype=torch.from_numpy(self.logits[:0]).dtype)
            self.copy = self.copy.to(device)

    @staticmethod
    def size_bytes(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
        """Of a full bank, on disk and in memory."""
        images, views, classes = shape
        return images * views * (dtype.itemsize * classes + np.dtype(np.uint32).itemsize)

    @property
    def is_current(self) -> bool:
        """Whether its files are those that another process would open now."""
        return self.inodes == self._inodes()

    def _inodes(self) -> list[int | None]:
        paths = [self.folder / _CHECKSUMS, self.folder / _logits_name(self.dtype)]
        return [path.stat().st_ino if path.exists() else None for path in paths]

    def missing(self, i: Index, v: Index) -> tuple[Index, Index]:
        """Those of the pairs (i, v) [m], each once, that are not there or are damaged."""
        unknown = ~self.verified[i, v]
        pairs = np.unique(i[unknown] * self.shape[1] + v[unknown])
        i, v = np.divmod(pairs, self.shape[1])
        there = self._verify(i, v)
        return i[~there], v[~there]

    def write(self, i: Index, v: Index, logits: Tensor) -> None:
        """Store the logits [m, K] of different pairs [m], but for those that are there meanwhile.

        Raises:
            UserError: a logit is beyond the range of the stored numbers, or not finite.
        """
        with np.errstate(over="ignore"):
            rows = logits.float().cpu().numpy().astype(self.dtype)
        if not np.isfinite(rows).all():
            largest = float(logits.abs().max())
            raise UserError(
                f"train.bank=true: the teacher's logits reach {largest:g}, and its bank stores up "
                f"to {np.finfo(self.dtype).max:g}; use train.bank=false, or another teacher"
            )
        with self.lock:  # held for the copy alone: two that write one pair would mix
            new = ~self._verify(i, v)
            i, v, rows = i[new], v[new], rows[new]
            self.logits[i, v] = rows
            self.checksums[i, v] = self._checksums(i, v, rows)
            self._accept(i, v, rows)

    def _verify(self, i: Index, v: Index) -> NDArray[np.bool_]:
        """Whether each of the pairs [m] is there and whole; those are verified from now on."""
        expected, rows = self.checksums[i, v], self.logits[i, v]
        there: NDArray[np.bool_] = expected != 0
        there[there] = self._checksums(i[there], v[there], rows[there]) == expected[there]
        damaged = int(((expected != 0) & ~there).sum())
        if damaged and not self.damage_is_logged:
            log.warning("%s: damaged, the teacher reads those views again", self.folder)
            self.damage_is_logged = True
        self._accept(i[there], v[there], rows[there])
        return there

    def _checksums(self, i: Index, v: Index, rows: NDArray[Any]) -> NDArray[np.uint32]:
        """The crc32 of each row [m, K], begun with its pair's number; never 0."""
        numbers = (i * self.shape[1] + v).tolist()
        sums = [zlib.crc32(row, number) or 1 for row, number in zip(rows, numbers, strict=True)]
        return np.array(sums, dtype=np.uint32)

    def _accept(self, i: Index, v: Index, rows: NDArray[Any]) -> None:
        self.verified[i, v] = True
        if self.copy is not None:
            where = (torch.from_numpy(each).to(self.device) for each in (i, v))
            self.copy[tuple(where)] = torch.from_numpy(rows).to(self.device)

    def read(self, index: Tensor, view: Tensor) -> Tensor:
        """Logits [..., K] of verified pairs [...], on the device, as they are stored."""
        if self.copy is not None:
            return self.copy[index, view]
        return torch.from_numpy(self.logits[index.numpy(), view.numpy()])


def _logits_name(dtype: np.dtype[Any]) -> str:
    return f"logits.f{8 * dtype.itemsize}"


def _open(
    folder: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
    """Map the two files of a bank: checksums [n, views] and logits [n, views, K].

    Where either file is missing or of another size, both start anew. The old files are unlinked,
    not cut, so that a process that has them mapped keeps what it has.
    """
    files: tuple[tuple[Path, np.dtype[Any], tuple[int, ...]], ...] = (
        (folder / _CHECKSUMS, np.dtype(np.uint32), shape[:2]),
        (folder / _logits_name(dtype), dtype, shape),
    )
    sizes = [math.prod(extent) * kind.itemsize for _, kind, extent in files]
    paths = [path for path, _, _ in files]
    if any(not p.exists() or p.stat().st_size != n for p, n in zip(paths, sizes, strict=True)):
        for path in paths:
            path.unlink(missing_ok=True)
        for path, size in zip(paths, sizes, strict=True):
            _zeros(path, size)
    checksums, logits = (np.memmap(path, kind, "r+", shape=extent) for path, kind, extent in files)
    return checksums, logits


def _zeros(path: Path, size: int) -> None:
    """A file of zeros that has its place on the disk: a full disk shows here, not later."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


class Banks:
    """The banks that a process has open: those of the latest population, read on one device.

    A population that has the same teachers finds them open, verified and copied.
    """

    def __init__(self) -> None:
        self.opened: list[LogitBank] = []

    def open(
        self,
        folders: list[Path],
        shape: tuple[int, int, int],
        *,
        dtype: np.dtype[Any],
        device: torch.device,
    ) -> list[LogitBank]:
        """The banks in ``folders``, of one shape; all others are let go.

        Raises:
            UserError: a folder can't be written, or the disk has no room for a full bank.
        """

        def find(folder: Path) -> LogitBank | None:
            wanted = (folder, shape, dtype, device)
            for bank in self.opened:
                if (bank.folder, bank.shape, bank.dtype, bank.device) == wanted:
                    return bank if bank.is_current else None
            return None

        kept = {folder: find(folder) for folder in folders}
        self.opened = [bank for bank in kept.values() if bank is not None]
        self.opened = [
            kept[folder] or LogitBank(folder, shape, dtype=dtype, device=device)
            for folder in folders
        ]
        return self.opened
