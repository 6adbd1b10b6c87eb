"""What the teacher says of training images: a bank of its logits, or one forward pass for all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import numpy as np
import torch
from torch import Tensor, nn

from kdsweep.distill.base import Outputs, at_least_float32
from kdsweep.models.taps import tapped
from kdsweep.store import writable

if TYPE_CHECKING:
    from kdsweep.data import Views
    from kdsweep.train.hardware import Hardware

FILL_BATCH = 512  # images in one forward pass that fills the bank


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
                self.filled = _open(folder / "filled.u8", np.uint8, self.shape[:2])
                self.logits = _open(folder / "logits.f16", np.float16, self.shape)
        self.on_device = torch.zeros((0,), device=hardware.device)
        if hardware.device.type != "cpu":
            self.on_device = torch.from_numpy(np.array(self.logits)).to(hardware.device)

    @staticmethod
    def size_bytes(images: int, views: int, classes: int) -> int:
        """Of a full bank, on disk and in memory."""
        return images * views * (2 * classes + 1)

    def prepare(self, index: Tensor, view: Tensor) -> None:
        """Compute what is missing of the pairs [S, n] that the next epoch will ask for.

        Processes that fill at once start at different places and look again before each batch,
        so they share the work without waiting for one another.
        """
        i, v = index.flatten().cpu().numpy(), view.flatten().cpu().numpy()
        missing = self.filled[i, v] == 0
        if missing.any():
            pairs = np.unique(np.stack([i[missing], v[missing]], 1), axis=0)
            if self.on_fill is not None:
                self.on_fill(len(pairs))
            starts = range(0, len(pairs), FILL_BATCH)
            first = os.getpid() % len(starts)
            for start in (*starts[first:], *starts[:first]):
                batch = pairs[start : start + FILL_BATCH]
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


def _open(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """Map a file of zeros, made at its full size so that a full disk shows here, not later."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with path.open("ab") as file:
        if os.fstat(file.fileno()).st_size != size:
            file.truncate(0)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
