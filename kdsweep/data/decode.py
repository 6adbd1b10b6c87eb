"""Image files of any format that Pillow reads, as square RGB arrays."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdsweep.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

_BLOCK_BYTES = 2**23  # decoded images that one task returns
_NAMED = 5  # unreadable files that an error names


def decode(root: Path, names: Sequence[str], *, size: int) -> Iterator[NDArray[np.uint8]]:
    """Decode the files ``root``/name, in order, in blocks of uint8 [m, 3, size, size].

    All files are tried before the unreadable ones are reported. Threads suffice: Pillow frees
    the interpreter while it decodes, and tiny images gain nothing from processes either.

    Raises:
        UserError: some files are no readable images; it counts them and names the first few.
    """
    block = max(1, min(256, _BLOCK_BYTES // (3 * size * size)))
    workers = min(8, os.cpu_count() or 1)
    unreadable: list[tuple[str, str]] = []
    waiting: deque[Future[tuple[NDArray[np.uint8], list[tuple[str, str]]]]] = deque()
    starts = iter(range(0, len(names), block))
    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of oddities in files that it can read
        while True:
            for start in starts:
                waiting.append(pool.submit(_block, root, names[start : start + block], size))
                if len(waiting) == 2 * workers:
                    break
            if not waiting:
                break
            images, failed = waiting.popleft().result()
            unreadable += failed
            yield images
    if unreadable:
        first = "; ".join(f"{name} ({reason})" for name, reason in unreadable[:_NAMED])
        more = "; ..." if len(unreadable) > _NAMED else ""
        raise UserError(
            f"data.root={root}: {len(unreadable)} of {len(names)} files are no readable images: "
            f"{first}{more}: mend or remove them"
        )


def _block(
    root: Path, names: Sequence[str], size: int
) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
    """Images [m, 3, size, size] and, of files that failed (black there), names and reasons."""
    images = np.zeros((len(names), 3, size, size), dtype=np.uint8)
    failed: list[tuple[str, str]] = []
    for image, name in zip(images, names, strict=True):
        try:
            image[...] = read_image(root / name, size=size)
        except Exception as error:  # Pillow's readers raise whatever a broken file makes them
            reason = str(error).replace(f" '{root / name}'", "").split("\n")[0]
            failed.append((name, reason or type(error).__name__))
    return images, failed


def read_image(path: Path, *, size: int) -> NDArray[np.uint8]:
    """Read one image file as uint8 [3, size, size].

    It is turned as its EXIF orientation says, converted to RGB, resized (antialiased, bilinear)
    so that its shorter side has ``size`` pixels and cropped in the centre, as torchvision's
    ``Resize(size)`` and ``CenterCrop(size)`` do. Transparency is dropped, 16-bit greys keep their
    upper 8 bits, and of an animation the first frame counts.

    Raises:
        OSError, SyntaxError, ValueError and others: Pillow can't read it.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        picture = _rgb(image)
    width, height = picture.size
    if (width, height) != (size, size):
        short = min(width, height)
        wide, high = size * width // short, size * height // short
        picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = round((wide - size) / 2), round((high - size) / 2)
        picture = picture.crop((left, top, left + size, top + size))
    return np.asarray(picture).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError("32-bit pixels have no fixed range")
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
