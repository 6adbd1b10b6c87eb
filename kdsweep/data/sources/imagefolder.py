"""A user's own images: folders of classes, in parts or all together, decoded once."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import numpy as np

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures
from kdsweep.data.sources.base import (
    PARTS,
    Found,
    Part,
    PartName,
    Parts,
    Stamp,
    folder_of,
    remembered,
    some,
)
from kdsweep.errors import UserError

log = logging.getLogger(__name__)

LAYOUT = "train/<class>/* with test/<class>/* or val/<class>/* or both, or <class>/*"
_CLUTTER = {"Thumbs.db", "desktop.ini"}  # what file managers leave behind, besides dotfiles


class _File(NamedTuple):
    """One image file and what the file system says of it."""

    name: str  # relative to the root, with forward slashes
    part: PartName
    label: str
    stamp: tuple[int, ...]  # size, modification time, status change time (ns)


def find_folder(config: DataConfig, cache: Path) -> Found:
    """The images of ``data.root``; classes are numbered in the order of their names.

    Parts are the folders ``train``, ``val`` and ``test``; where there is none, the classes' own
    folders are one part, which is split. Every file below a class's folder must be an image,
    however deep, except dotfiles and file managers' clutter. The arrays are found by the sha256
    of all names and bytes; those are hashed again only when a name, size or time stamp has
    changed, so a known folder opens at the cost of listing it.

    Raises:
        UserError: the folder isn't laid out so, a class is missing from a part or empty, or a
            file can't be read.
    """
    assert config.root is not None
    root = Path(config.root).expanduser().resolve()
    try:
        files = _files(root, config.given)
        content = remembered(
            cache, "imagefolder", lambda: _stamps(root, files), lambda: _content(root, files)
        )
    except OSError as error:
        raise UserError(
            f"{config.given}: {error.filename} can't be read ({error.strerror}): mend or remove it"
        ) from error
    return Found(folder=folder_of(config, content), read=lambda: _read(config, root, files))


def _files(root: Path, given: str) -> list[_File]:
    """All image files, part by part, by class and name."""
    folders = _folders(root, given)
    labels = {part: _labels(folder, root, given) for part, folder in folders.items()}
    everywhere = set().union(*labels.values())
    for part, names in labels.items():
        missing = sorted(everywhere - set(names))
        if missing:
            other = next(p for p, theirs in labels.items() if set(missing) & set(theirs))
            lost = sorted(set(labels[other]) - set(names))
            raise UserError(
                f"{given}: {len(lost)} of the classes in {other} have no folder in {part} "
                f"({some(lost)}); every part must have the same classes"
            )
    files: list[_File] = []
    for part, names in labels.items():
        for label in names:
            folder = folders[part] / label
            found = sorted(_walk(folder, folder.relative_to(root).as_posix()))
            if not found:
                raise UserError(f"{given}: {folder} has no images; fill or remove it")
            files += (_File(name=n, part=part, label=label, stamp=s) for n, s in found)
    return files


def _folders(root: Path, given: str) -> Mapping[PartName, Path]:
    """The folder that holds the classes of each part; for one part alone, ``root`` itself."""
    if not root.is_dir():
        raise UserError(f"{given}: {root} is no folder; allowed is one with {LAYOUT}")
    folders = _class_folders(root)
    parts: dict[PartName, Path] = {part: root / part for part in PARTS if part in folders}
    if not parts or (len(folders) > len(parts) and not any(map(_class_folders, parts.values()))):
        return {"train": root}  # a class may be called train
    if "train" not in parts or len(parts) == 1:
        missing = root / ("test" if "train" in parts else "train")
        raise UserError(f"{given}: {missing} is no folder; data.root must hold {LAYOUT}")
    return parts


def _class_folders(place: Path) -> list[str]:
    with os.scandir(place) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not _hidden(e.name))


def _labels(place: Path, root: Path, given: str) -> list[str]:
    """The names of the class folders in ``place``, sorted."""
    there = "<class>/" if place == root else f"{place.name}/<class>/"
    with os.scandir(place) as entries:
        names = sorted(e.name for e in entries if not e.is_dir() and not _hidden(e.name))
    loose = [name for name in names if _looks_like_an_image(name)]
    if loose:
        raise UserError(
            f"{given}: {place} itself holds images ({len(loose)}: {some(loose)}); move them to "
            f"{there}"
        )
    labels = _class_folders(place)
    if not labels:
        raise UserError(f"{given}: {place} has no class folders; images go to {there}")
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


def _stamps(root: Path, files: Sequence[_File]) -> Iterator[Stamp]:
    yield str(root), ()
    for file in files:
        yield file.name, file.stamp


def _content(root: Path, files: Sequence[_File]) -> str:
    """The sha256 of the files' names and bytes."""
    content = hashlib.sha256()
    for file in files:
        data = (root / file.name).read_bytes()
        content.update(os.fsencode(f"{file.name}\0{len(data)}\0"))
        content.update(data)
    return content.hexdigest()


def _read(config: DataConfig, root: Path, files: Sequence[_File]) -> Pictures:
    log.info("Decoding %d images of %s, this once", len(files), root)
    classes = sorted({file.label for file in files})
    number = {label: i for i, label in enumerate(classes)}
    parts: dict[PartName, Part] = {}
    for part in PARTS:
        own = [file for file in files if file.part == part]
        if own:
            parts[part] = Part(
                images=[root / file.name for file in own],
                labels=np.array([number[file.label] for file in own], dtype=np.int64),
                names=[file.name for file in own],
            )
    return Parts(config=config, parts=parts, names=classes).pictures()
