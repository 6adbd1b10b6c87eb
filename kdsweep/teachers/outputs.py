"""What the teacher says of training images: a bank of its logits, or one forward pass for all."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import numpy as np
import torch
from torch import Tensor, nn

from kdsweep.losses.base import Outputs, at_least_float32
from kdsweep.models.taps import tapped
from kdsweep.store import writable

if TYPE_CHECKING:
    from kdsweep.data import Views
    from kdsweep.hardware.choose import Hardware

FILL_BATCH = 512  # images in one forward pass that fills the bank, on a GPU
FILL_BATCH_ON_CPU = 128  # smaller ones are shared more evenly between processes


class LiveTeacher:
    """One forward pass of the teacher on each batch, shared by every member that sees it."""

    def __init__(self, model: nn.Module, hardware: Hardware, taps: tuple[str, ...] = ()) -> None:
        self.model = model.eval()
        self.hardware = hardware
        self.taps = taps

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Nothing to prepare: the images are there when the batch is."""

    @torch.no_grad()
    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        """Outputs [S, B, ...] for rendered images [S, B, C, H, W]."""
        shape = images.shape[:2]
        with self.hardware.autocast(), tapped(self.model, self.taps) as features:
            logits = self.model(images.flatten(0, 1))
        return Outputs(
            logits=at_least_float32(logits).reshape(*shape, -1),
            features={
                name: value.reshape(*shape, *value.shape[1:]) for name, value in features.items()
            },
        )


class LogitBank:
    """The teacher's logits per (image, discrete view), computed once, ever.

    The bank is two files that processes map into memory together: fp16 logits [n, views, K] and
    a byte for each pair that says whether it is filled. A pair's byte is set after its logits
    are written, so a process that dies half-way loses its last batch and nothing else.

    Args:
        model: the trained teacher.
        folder: belongs to this teacher, these images and this view space alone.
        views: renders what is missing.
        classes: K.
        hardware: how to run the teacher.
        on_fill: hears how many pairs are about to be computed.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        folder: Path,
        views: Views,
        images: int,
        classes: int,
        hardware: Hardware,
        on_fill: Callable[[int], None] | None = None,
    ) -> None:
        self.model = model.eval()
        self.views = views
        self.hardware = hardware
        self.on_fill = on_fill
        self.shape = (images, views.count, classes)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / ".open.lock"):
                self.filled, self.logits = _open(folder, self.shape)
        self.on_device = torch.zeros((0,), device=hardware.device)
        if hardware.device.type != "cpu":
            self.on_device = torch.from_numpy(np.array(self.logits)).to(hardware.device)

    @staticmethod
    def size_bytes(images: int, views: int, classes: int) -> int:
        """Of a full bank, on disk and in memory."""
        return images * views * (2 * classes + 1)

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Compute what is missing of the pairs [S, n] that the next epoch will ask for.

        Processes that fill at once go through the batches in orders of their own and look again
        before each, so they share the work without waiting for one another.
        """
        i, v = index.flatten().cpu().numpy(), view.flatten().cpu().numpy()
        missing = self.filled[i, v] == 0
        if missing.any():
            pairs = np.unique(np.stack([i[missing], v[missing]], 1), axis=0)
            if self.on_fill is not None:
                self.on_fill(len(pairs))
            on_cpu = self.hardware.device.type == "cpu"
            size = FILL_BATCH_ON_CPU if on_cpu else FILL_BATCH
            starts = list(range(0, len(pairs), size))
            random.Random(os.getpid()).shuffle(starts)
            for start in starts:
                batch = pairs[start : start + size]
                batch = batch[self.filled[batch[:, 0], batch[:, 1]] == 0]
                if len(batch):
                    self._fill(batch)
        self._refresh(i, v)

    @torch.no_grad()
    def _fill(self, pairs: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
        i, v = pairs[:, 0], pairs[:, 1]
        device = self.hardware.device
        images = self.views.render(torch.from_numpy(i).to(device), torch.from_numpy(v).to(device))
        with self.hardware.autocast():
            logits = self.model(images)
        self.logits[i, v] = logits.to(torch.float16).cpu().numpy()
        self.filled[i, v] = 1

    def _refresh(self, i: np.ndarray, v: np.ndarray) -> None:
        if self.hardware.device.type != "cpu":
            device = self.hardware.device
            fresh = torch.from_numpy(self.logits[i, v]).to(device)
            self.on_device[torch.from_numpy(i).to(device), torch.from_numpy(v).to(device)] = fresh

    def outputs(self, index: Tensor, view: Tensor, images: Tensor) -> Outputs:
        """Banked logits [S, B, K] in the parameters' precision; the images are not looked at."""
        if self.hardware.device.type == "cpu":
            picked = torch.from_numpy(self.logits[index.numpy(), view.numpy()])
        else:
            picked = self.on_device[index, view]
        return Outputs(logits=picked.to(self.hardware.dtype), features={})


def _open(folder: Path, shape: tuple[int, int, int]) -> tuple[np.memmap, np.memmap]:
    """Map the two files of a bank: which pairs are filled [n, views], logits [n, views, K].

    Where either file is missing or of another size, both start anew: what is filled says nothing
    of other logits. The old files are unlinked, not cut, so that a process that has them mapped
    keeps what it has.
    """
    files: tuple[tuple[Path, type, tuple[int, ...]], ...] = (
        (folder / "filled.u8", np.uint8, shape[:2]),
        (folder / "logits.f16", np.float16, shape),
    )
    sizes = [math.prod(extent) * np.dtype(dtype).itemsize for _, dtype, extent in files]
    paths = [path for path, _, _ in files]
    if any(not p.exists() or p.stat().st_size != n for p, n in zip(paths, sizes, strict=True)):
        for path in paths:
            path.unlink(missing_ok=True)
        for path, size in zip(paths, sizes, strict=True):
            _zeros(path, size)
    filled, logits = (np.memmap(path, kind, "r+", shape=extent) for path, kind, extent in files)
    return filled, logits


def _zeros(path: Path, size: int) -> None:
    """A file of zeros that has its place on the disk: a full disk shows here, not later."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
