"""A user's own images: ``train/<class>/*`` and ``test/<class>/*``, decoded once."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import numpy as np

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures, cached
from kdsweep.data.dataset import Source
from kdsweep.data.decode import decode
from kdsweep.errors import UserError
from kdsweep.store import find_json, with_checksum, write_json

log = logging.getLogger(__name__)

_VERSION = 1  # of the decoded arrays: raise it when decoding or resizing changes
_CLUTTER = {"Thumbs.db", "desktop.ini"}  # what file managers leave behind, besides dotfiles


class _File(NamedTuple):
    """One image file and what the file system says of it."""

    name: str  # relative to the root, with forward slashes
    part: str  # train or test
    label: str
    stamp: tuple[int, ...]  # size, modification time, status change time (ns)


def open_folder(config: DataConfig, cache: Path) -> Source:
    """Open ``data.root``; classes are numbered in the order of their names.

    Every file below a class's folder must be an image, however deep, except dotfiles and file
    managers' clutter. See ``decode`` for what becomes of an image. The arrays are found by the
    sha256 of all names and bytes; those are hashed again only when a name, size or time stamp
    has changed, so a known folder opens at the cost of listing it.

    Raises:
        UserError: the folder isn't laid out so, a class is in one part alone or empty, files are
            no readable images (the first few are named), or ``cache`` can't be written.
    """
    assert config.root is not None
    root = Path(config.root).expanduser().resolve()
    try:
        files = _files(root, config.root)
        key = _content(root, files, cache)
    except OSError as error:
        raise UserError(
            f"data.root={config.root}: {error.filename} can't be read ({error.strerror}): mend or "
            "remove it"
        ) from error
    folder = cache / f"imagefolder-{config.image_size}-v{_VERSION}-{key[:16]}"
    return cached(folder, lambda: _make(root, files, config.image_size))


def _files(root: Path, given: str) -> list[_File]:
    """All image files, the training images first, by class and name."""
    key = f"data.root={given}"
    files: list[_File] = []
    labels = {part: _labels(root / part, part, key) for part in ("train", "test")}
    for part, other in (("test", "train"), ("train", "test")):
        missing = sorted(set(labels[other]) - set(labels[part]))
        if missing:
            raise UserError(
                f"{key}: {len(missing)} of the classes in {other} have no folder in {part} "
                f"({_some(missing)}); both must have the same classes"
            )
    for part, names in labels.items():
        for label in names:
            found = sorted(_walk(root / part / label, f"{part}/{label}"))
            if not found:
                raise UserError(f"{key}: {root / part / label} has no images; fill or remove it")
            files += (_File(name=n, part=part, label=label, stamp=s) for n, s in found)
    return files


def _labels(place: Path, part: str, key: str) -> list[str]:
    """The names of the class folders in ``place``, sorted."""
    if not place.is_dir():
        raise UserError(
            f"{key}: {place} is no folder; data.root must hold train/<class>/* and test/<class>/*"
        )
    with os.scandir(place) as entries:
        inside = sorted((e.name, e.is_dir()) for e in entries if not _hidden(e.name))
    loose = [name for name, is_folder in inside if not is_folder and _looks_like_an_image(name)]
    if loose:
        raise UserError(
            f"{key}: {place} itself holds images ({len(loose)}: {_some(loose)}); move them to "
            f"{part}/<class>/"
        )
    labels = [name for name, is_folder in inside if is_folder]
    if not labels:
        raise UserError(f"{key}: {place} has no class folders; images go to {part}/<class>/")
    return labels


def _looks_like_an_image(name: str) -> bool:
    return (mimetypes.guess_type(name)[0] or "").startswith("image/")


def _walk(folder: Path, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and stamp of every file below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name):
                continue
            below = f"{name}/{entry.name}"
            if entry.is_dir():
                yield from _walk(folder / entry.name, below)
            else:
                stat = entry.stat()
                if not S_ISREG(stat.st_mode):  # a pipe or a device: reading it may never end
                    raise UserError(f"data.root: {entry.path} is no regular file; remove it")
                yield below, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _CLUTTER


def _content(root: Path, files: Sequence[_File], cache: Path) -> str:
    """The sha256 of the files' names and bytes, remembered under that of their stamps."""
    stamps = hashlib.sha256(os.fsencode(root))
    stamps.update(os.fsencode("\0".join(f"\0{file.name}\0{file.stamp}" for file in files)))
    note = cache / "imagefolder-seen" / stamps.hexdigest()
    seen = find_json(note, checked=True)
    if seen is not None:
        return str(seen["content"])
    content = hashlib.sha256()
    for file in files:
        data = (root / file.name).read_bytes()
        content.update(os.fsencode(f"{file.name}\0{len(data)}\0"))
        content.update(data)
    write_json(note, with_checksum({"content": content.hexdigest()}))
    return content.hexdigest()


def _make(root: Path, files: Sequence[_File], size: int) -> Pictures:
    log.info("Decoding %d images of %s, this once", len(files), root)
    classes = sorted({file.label for file in files})
    number = {label: i for i, label in enumerate(classes)}
    return Pictures(
        classes=tuple(classes),
        labels=np.array([number[file.label] for file in files], dtype=np.int64),
        train=sum(file.part == "train" for file in files),
        size=size,
        blocks=decode(root, [file.name for file in files], size=size),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
