"""Images and labels as NumPy arrays in one ``.npz`` file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures
from kdsweep.data.decode import last_channels, require_uint8
from kdsweep.data.sources.base import Found, Part, PartName, Parts, folder_of, remembered
from kdsweep.data.sources.labels import as_labels
from kdsweep.errors import UserError, first_line
from kdsweep.store import file_hash

# Names of images and labels, Keras' and MedMNIST's among them.
_NAMES: dict[PartName, tuple[tuple[str, str], ...]] = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
CLASSES = "classes"  # the array of their names, if there is one
_ALLOWED = "x_train, y_train, and if you have them x_val, y_val, x_test, y_test; or images, labels"


def find_arrays(config: DataConfig, cache: Path) -> Found:
    """The arrays of the file ``data.root``, found by its bytes.

    Images are uint8 [n, H, W], [n, H, W, C] or [n, C, H, W] with 1 or 3 channels, labels whole
    numbers [n] or [n, 1] from 0. ``images`` and ``labels`` are a single part, which is split.

    Raises:
        UserError: no such file; and when it is read: arrays are missing or of another kind.
    """
    assert config.root is not None
    file = Path(config.root).expanduser().resolve()
    if not file.is_file():
        raise UserError(f"{config.given}: {file} is no file; allowed is a .npz file")
    try:
        stat = file.stat()
        stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        content = remembered(
            cache, "arrays", lambda: [(str(file), stamp)], lambda: file_hash(file)
        )
    except OSError as error:
        raise UserError(f"{config.given}: can't be read ({error.strerror})") from error
    return Found(folder=folder_of(config, content), read=lambda: _read(config, file))


def _read(config: DataConfig, file: Path) -> Pictures:
    try:
        with file.open("rb") as stream:
            arrays = np.load(stream)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise UserError(f"{config.given}: is a single array; allowed is {_ALLOWED}")
            return _parts(config, arrays).pictures()
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        line = first_line(error)
        raise UserError(
            f"{config.given}: is no .npz file of plain arrays, or is damaged ({line}); write it "
            "with numpy.savez"
        ) from error


def _parts(config: DataConfig, arrays: np.lib.npyio.NpzFile) -> Parts:
    parts: dict[PartName, Part] = {}
    for part, pairs in _NAMES.items():
        there = [pair for pair in pairs if set(pair) & set(arrays.files)]
        if len(there) > 1:
            raise UserError(
                f"{config.given}: has {' and '.join(pair[0] for pair in there)} for {part}; "
                "leave one"
            )
        for images, labels in there:
            for name in (images, labels):
                if name not in arrays.files:
                    raise UserError(f"{config.given}: has no array {name}; allowed is {_ALLOWED}")
            pixels = _images(config, images, arrays[images])
            parts[part] = Part(
                images=pixels,
                labels=_labels(config, labels, arrays[labels], len(pixels)),
                names=[f"{images}[{i}]" for i in range(len(pixels))],
            )
    known = {name for pairs in _NAMES.values() for pair in pairs for name in pair} | {CLASSES}
    if "train" not in parts or set(arrays.files) - known:
        raise UserError(
            f"{config.given}: has the arrays {', '.join(arrays.files) or '(none)'}; allowed are "
            f"{_ALLOWED}; and {CLASSES}, their names"
        )
    names = [str(name) for name in arrays[CLASSES]] if CLASSES in arrays.files else None
    return Parts(config=config, parts=parts, names=names)


def _images(config: DataConfig, name: str, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        require_uint8(array)
        if array.ndim not in (3, 4):
            raise ValueError(
                f"shape {array.shape}; allowed are [n, H, W], [n, H, W, C] and [n, C, H, W]"
            )
        if len(array):
            last_channels(array[0])
    except ValueError as error:
        raise UserError(f"{config.given}: {name} has {error}") from error
    return array


def _labels(
    config: DataConfig, name: str, array: NDArray[np.int64], images: int
) -> NDArray[np.int64]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.shape != (images,):
        raise UserError(
            f"{config.given}: {name} has shape {array.shape} for {images} images; allowed is "
            f"({images},)"
        )
    return as_labels(flat, f"{config.given}: {name}")
