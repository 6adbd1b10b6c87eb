"""Images of any form, from files to arrays, as square RGB arrays."""

from __future__ import annotations

import io
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1  # of the decoded arrays: raise it when decoding or resizing changes
THREADS = min(8, os.cpu_count() or 1)
_BLOCK_BYTES = 2**23  # decoded images that one task returns
_NAMED = 5  # unreadable images that an error names


class Images(Protocol):
    """Images that are read one by one, in any form that ``square`` takes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def decode(
    images: Images,
    name: Callable[[int], str],
    *,
    size: int,
    given: str,
    threads: int = THREADS,
) -> Iterator[NDArray[np.uint8]]:
    """Decode images, in order, in blocks of uint8 [m, 3, size, size].

    All are tried before the unreadable ones are reported. Threads suffice: Pillow frees the
    interpreter while it decodes, and tiny images gain nothing from processes either.

    Args:
        images: in any form that ``square`` takes.
        name: of each of them, for the error.
        size: pixels, height and width.
        given: what the user wrote, such as ``data.root=flowers``, to begin the error.
        threads: 1 where ``images`` can't be read by several at once.

    Raises:
        UserError: some can't be read; it counts them and names the first few.
    """
    block = max(1, min(256, _BLOCK_BYTES // (3 * size * size)))
    unreadable: list[tuple[str, str]] = []
    waiting: deque[Future[tuple[NDArray[np.uint8], list[tuple[str, str]]]]] = deque()
    starts = iter(range(0, len(images), block))
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of oddities in files that it can read
        while True:
            for start in starts:
                positions = range(start, min(start + block, len(images)))
                waiting.append(pool.submit(_block, images, name, positions, size))
                if len(waiting) == 2 * threads:
                    break
            if not waiting:
                break
            done, failed = waiting.popleft().result()
            unreadable += failed
            yield done
    if unreadable:
        first = "; ".join(f"{one} ({reason})" for one, reason in unreadable[:_NAMED])
        more = "; ..." if len(unreadable) > _NAMED else ""
        raise UserError(
            f"{given}: {len(unreadable)} of {len(images)} images can't be read: "
            f"{first}{more}: mend or remove them"
        )


def _block(
    images: Images, name: Callable[[int], str], positions: Sequence[int], size: int
) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
    """Images [m, 3, size, size] and, of those that failed (black there), names and reasons."""
    decoded = np.zeros((len(positions), 3, size, size), dtype=np.uint8)
    failed: list[tuple[str, str]] = []
    for place, position in zip(decoded, positions, strict=True):
        try:
            image = images[position]
            place[...] = square(image, size=size)
        except Exception as error:  # Pillow's readers raise whatever a broken file makes them
            failed.append((name(position), _reason(error)))
    return decoded, failed


def _reason(error: Exception) -> str:
    """An error's first line, without the name of the file that is named beside it."""
    if isinstance(error, OSError) and error.strerror:
        return f"[Errno {error.errno}] {error.strerror}"
    line = str(error).split("\n")[0].partition(" '/")[0].partition(" <_io.")[0]
    return line or type(error).__name__


def square(image: object, *, size: int) -> NDArray[np.uint8]:
    """Make one image uint8 [3, size, size].

    It is converted to RGB, resized (antialiased, bilinear) so that its shorter side has ``size``
    pixels and cropped in the centre, as torchvision's ``Resize(size)`` and ``CenterCrop(size)``
    do. A file is turned as its EXIF orientation says; transparency is dropped, 16-bit greys keep
    their upper 8 bits, and of an animation the first frame counts.

    Args:
        image: a file's path or its bytes, an image of Pillow's, or a uint8 array or tensor
            [H, W], [H, W, C] or [C, H, W] with 1 or 3 channels.
        size: pixels, height and width.

    Raises:
        OSError, SyntaxError, ValueError and others: it can't be read.
    """
    from PIL import Image

    if isinstance(image, Path):
        with Image.open(image) as opened:
            return _fitted(_rgb(opened), size)
    if isinstance(image, bytes):
        with Image.open(io.BytesIO(image)) as opened:
            return _fitted(_rgb(opened), size)
    if isinstance(image, Image.Image):
        return _fitted(_rgb(image), size)
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"is a {type(image).__name__}; allowed are a picture of Pillow's, and a uint8 array "
            "or tensor"
        )
    require_uint8(image)
    pixels = last_channels(image)
    if pixels.shape[:2] == (size, size):
        return np.broadcast_to(pixels.transpose(2, 0, 1), (3, size, size))
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    return _fitted(Image.fromarray(np.ascontiguousarray(flat)).convert("RGB"), size)


def require_uint8(array: NDArray[Any]) -> None:
    """Raise a ValueError that says what is there, unless it is uint8."""
    if array.dtype == np.uint8:
        return
    found = f"{array.dtype} values"
    if array.size and array.dtype.kind in "iuf":
        found += f" ({np.min(array):.4g} to {np.max(array):.4g})"
    raise ValueError(f"{found}; allowed is uint8, 0 to 255")


def last_channels(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """View [H, W], [H, W, C] or [C, H, W] as [H, W, C], with a C of 1 or 3.

    Raises:
        ValueError: it is none of these, or can be read as two of them.
    """
    if array.ndim == 2:
        return array[..., None]
    if array.ndim == 3:
        first, last = array.shape[0] in (1, 3), array.shape[2] in (1, 3)
        if last and not first:
            return array
        if first and not last:
            return array.transpose(1, 2, 0)
    raise ValueError(
        f"shape {tuple(array.shape)}; allowed are [H, W], [H, W, C] and [C, H, W] with 1 or 3 "
        "channels"
    )


def _fitted(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """An RGB picture, resized and cropped, as [3, size, size]."""
    from PIL import Image

    width, height = picture.size
    if (width, height) != (size, size):
        short = min(width, height)
        wide, high = size * width // short, size * height // short
        picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = round((wide - size) / 2), round((high - size) / 2)
        picture = picture.crop((left, top, left + size, top + size))
    return np.asarray(picture).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    """The image, upright and in RGB."""
    from PIL import Image, ImageOps

    kind = image.format
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or (image.mode == "I" and kind != "PNG"):
        raise ValueError("32-bit pixels have no fixed range")
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
