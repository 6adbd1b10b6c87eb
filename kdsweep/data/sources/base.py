"""What a source gives: labelled images in parts, named by their content before any is decoded."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.config import DataConfig
from kdsweep.data.arrays import Pictures
from kdsweep.data.decode import THREADS, VERSION, Images, decode
from kdsweep.errors import UserError
from kdsweep.store import find_json, with_checksum, write_json

PartName = Literal["train", "val", "test"]
PARTS: tuple[PartName, ...] = ("train", "val", "test")
Stamp = tuple[str, tuple[int, ...]]  # a file's name, and what the file system says of it


@dataclass(frozen=True, kw_only=True)
class Found:
    """The images of a source, found but not read.

    Args:
        folder: of their decoded arrays, named by their content and size.
        read: gets them, for when there is no such folder yet.
    """

    folder: str
    read: Callable[[], Pictures]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of one part, and their labels."""

    images: Images  # each in any form that ``kdsweep.data.decode.square`` takes
    labels: NDArray[np.int64]  # [n]
    names: Sequence[str] = ()  # of the images, for errors; empty: their numbers

    def __post_init__(self) -> None:
        assert len(self.images) == len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All parts of a source: training images alone, or with validation and test images.

    Args:
        config: what asked for them.
        parts: those that the source has, ``train`` among them; none is empty.
        names: of the classes, in the order of their labels; None: the labels themselves.
        threads: 1 where images can't be read by several at once.
    """

    config: DataConfig
    parts: Mapping[PartName, Part]
    names: Sequence[str] | None = None
    threads: int = THREADS

    def pictures(self) -> Pictures:
        """Check the labels, and decode the images block by block.

        Raises:
            UserError: a part is empty, a class is missing from one, or labels are no classes;
                and, while blocks are read, some images can't be.
        """
        self._check()
        given = self.config.given
        there = [(name, self.parts[name]) for name in PARTS if name in self.parts]
        named = [
            part.names or [f"{name} {i}" for i in range(len(part.labels))] for name, part in there
        ]
        return Pictures(
            classes=self.classes,
            labels=np.concatenate([part.labels for _, part in there]),
            train=len(self.parts["train"].labels),
            val=len(self.parts["val"].labels) if "val" in self.parts else 0,
            size=self.config.image_size,
            blocks=decode(
                Joined([part.images for _, part in there]),
                list(itertools.chain(*named)).__getitem__,
                size=self.config.image_size,
                given=given,
                threads=self.threads,
            ),
        )

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        if self.names is not None:
            return tuple(self.names)
        return tuple(
            str(i) for i in range(int(max(p.labels.max() for p in self.parts.values())) + 1)
        )

    def _check(self) -> None:
        given = self.config.given
        for name, part in self.parts.items():
            if not len(part.labels):
                raise UserError(f"{given}: has no {name} images")
        low, high = min(p.labels.min() for p in self.parts.values()), len(self.classes)
        if low < 0 or any(part.labels.max() >= high for part in self.parts.values()):
            raise UserError(
                f"{given}: has labels from {low} to "
                f"{max(p.labels.max() for p in self.parts.values())}; allowed are 0 to "
                f"{high - 1}, one for each class"
            )
        for name, part in self.parts.items():
            missing = np.setdiff1d(np.arange(high), part.labels)
            if len(missing):
                raise UserError(
                    f"{given}: {len(missing)} of {high} classes have no {name} images "
                    f"({some([self.classes[i] for i in missing])}); every part must have all "
                    "classes, and labels count up from 0"
                )


class Joined:
    """Images of several parts, one after another."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> object:
        part = int(np.searchsorted(self.ends, index, side="right"))
        return self.parts[part][index - int(self.ends[part]) + len(self.parts[part])]


def folder_of(config: DataConfig, content: str) -> str:
    """The name of the folder for decoded images whose content has this hash."""
    return f"{config.kind}-{config.image_size}-v{VERSION}-{content[:16]}"


def content_of(parts: Parts, digests: Mapping[PartName, Iterable[bytes]]) -> str:
    """The hash of labels, names of classes, and of every image."""
    whole = hashlib.sha256(repr(parts.names).encode())
    for name, part in parts.parts.items():
        whole.update(f"{name}{len(part.labels)}".encode())
        whole.update(part.labels.tobytes())
        for one in digests[name]:
            whole.update(one)
    return whole.hexdigest()


def image_hash(image: Any) -> bytes:
    """The sha256 of an image as it comes, in any form that ``square`` takes."""
    from PIL import Image

    if isinstance(image, Path):
        return hashlib.sha256(image.read_bytes()).digest()
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if isinstance(image, Image.Image):
        about, image = (image.mode, image.size, image.getpalette()), np.asarray(image)
    else:
        image = np.asarray(image)
        about = (str(image.dtype), image.shape, None)
    digest = hashlib.sha256(repr(about).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.digest()


def remembered(
    cache: Path, kind: str, stamps: Callable[[], Iterable[Stamp]], content: Callable[[], str]
) -> str:
    """The content's hash, computed again only when a file's name, size or time has changed."""

    def note() -> Path:
        key = hashlib.sha256(repr(sorted(stamps())).encode("utf-8", "surrogateescape"))
        return cache / f"{kind}-seen" / key.hexdigest()

    seen = find_json(note(), checked=True)
    if seen is not None:
        return str(seen["content"])
    computed = content()
    write_json(note(), with_checksum({"content": computed}))
    return computed


def some(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
