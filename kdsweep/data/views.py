"""Random crops and flips of the training images, rendered in batches on their device.

A view is one of finitely many: a shift of up to ``padding`` pixels each way, and a flip or none.
Which one an image gets is a pure function of (seed, epoch, index), so that members of a
population, processes and reruns see the same pixels, and a teacher's outputs can be banked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdsweep import streams
from kdsweep.config import DataConfig

_BLOCK = 4096  # images that are padded at a time


def normalise(images: Tensor, config: DataConfig, *, dtype: torch.dtype) -> Tensor:
    """Uint8 [..., 3, H, W] to (x / 255 - mean) / std: the unaugmented view, for evaluation.

    Memory format and device stay as they are.
    """
    scale, shift = affine(config, dtype, images.device)
    return _apply(images, scale[:, None, None], shift[:, None, None], dtype)


class Views:
    """The training images [n, 3, H, W] on a device, padded once, and their random views.

    View 0 is the image itself: no shift, no flip. Each row of pixels is stored with its padding,
    and again mirrored if ``flip`` is on, so that a row of any view is one contiguous run of
    bytes: n * 3 * (H + 2p) * (W + 2p) * (2 if flip else 1) bytes in all, 432 MB for 45,000 CIFAR
    images at p = 4. ``channels_last`` stores, and returns, pixels with their channels together.

    Attributes:
        count: Number of discrete views, (2p + 1)^2 * (2 if flip else 1).
        discrete: Whether these are all there are: no random erasing, no mixup.
    """

    def __init__(
        self,
        images: Tensor,
        config: DataConfig,
        *,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        p, flip = config.views.padding, config.views.flip
        side, copies = 2 * p + 1, 2 if flip else 1
        self.count = side * side * copies
        self.erase = config.views.erase  # probability
        self.mixup = config.views.mixup  # of Beta(mixup, mixup); 0 is off
        self.discrete = self.erase == 0 and self.mixup == 0
        self._dtype = dtype
        self._channels_last = channels_last

        _, channels, height, width = images.shape
        self._height, self._width = height, width
        planes, together = (1, channels) if channels_last else (channels, 1)
        high, wide = height + 2 * p, width + 2 * p
        store = torch.zeros(
            (len(images), planes, high, copies, wide, together), dtype=torch.uint8, device=device
        )
        inner = store[:, :, p : p + height, :, p : p + width]
        for start in range(0, len(images), _BLOCK):
            block = images[start : start + _BLOCK].to(device)
            block = block.permute(0, 2, 3, 1)[:, None] if channels_last else block[..., None]
            inner[start : start + _BLOCK, :, :, 0] = block
            if flip:
                inner[start : start + _BLOCK, :, :, 1] = block.flip(3)

        # All runs of ``width`` pixels, overlapping: a row of a view is one of them.
        self._runs = store.as_strided(
            (store.numel() // together - width + 1, width * together), (together, 1)
        )
        self._image = planes * high * copies * wide  # pixels from one image to the next
        self._starts = _starts(p, flip=flip, wide=wide).to(device)
        plane = torch.arange(planes)[:, None] * high
        rows = (plane + torch.arange(height)) * (copies * wide)
        self._rows = rows.flatten().to(device)

        scale, shift = affine(config, dtype, device)
        if channels_last:
            self._scale, self._shift = (v.repeat(height * width) for v in (scale, shift))
        else:
            self._scale, self._shift = (
                v.repeat_interleave(height * width) for v in (scale, shift)
            )

    def sample(self, seeds: Tensor, epoch: int, index: Tensor) -> Tensor:
        """Draw views [S, B] for the images ``index`` [S, B], one row for each of ``seeds`` [S].

        A whole epoch's order [S, n] may be asked for at once: the views are the same.
        """
        return streams.integers(self.count, seeds[:, None], streams.CROP, epoch, index)

    def render(self, index: Tensor, view: Tensor) -> Tensor:
        """Images and views [...], on the device, to normalised pixels [..., 3, H, W]."""
        first = index * self._image + self._starts[view]
        runs = (first[..., None] + self._rows).flatten()
        pixels = self._runs.index_select(0, runs).view(*index.shape, len(self._scale))
        values = _apply(pixels, self._scale, self._shift, self._dtype)
        if self._channels_last:
            return values.view(*index.shape, self._height, self._width, 3).movedim(-1, -3)
        return values.view(*index.shape, 3, self._height, self._width)


def _starts(padding: int, *, flip: bool, wide: int) -> Tensor:
    """The first pixel of each view within its image's plane, int64 [count].

    Views are numbered by flip, then vertical, then horizontal offset; offsets are counted from
    the centre and wrap around, so that view 0 is the image itself.
    """
    side = 2 * padding + 1
    offset = (torch.arange(side) + padding) % side
    if not flip:
        return (offset[:, None] * wide + offset).flatten()
    top = offset[:, None] * 2 * wide
    mirrored = wide + 2 * padding - offset  # a row's copy lies behind it, end to front
    return torch.stack([top + offset, top + mirrored]).flatten()


def affine(
    config: DataConfig, dtype: torch.dtype, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Scale and shift [3] that take 0 to 255 to normalised values, in working precision."""
    mean = torch.tensor(config.mean, dtype=torch.float64)
    std = torch.tensor(config.std, dtype=torch.float64)
    work = _working(dtype)
    return (1 / (255 * std)).to(device, work), (-mean / std).to(device, work)


def _apply(pixels: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """Two roundings, never a fused one: any layout of the same pixels gives the same bits."""
    return pixels.to(_working(dtype)).mul_(scale).add_(shift).to(dtype)


def _working(dtype: torch.dtype) -> torch.dtype:
    """Half precision would round twice."""
    return torch.promote_types(dtype, torch.float32)
