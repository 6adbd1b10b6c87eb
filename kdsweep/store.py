"""Artefacts found by the hash of everything that made them.

An artefact is a folder ``<root>/store/<kind>/<key>`` that appears all at once: it is written
beside its place, under a lock, and renamed into it. Processes that want the same artefact wait
for one another instead of making it twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from kdsweep.errors import UserError

META = "meta.json"


def digest(*parts: object) -> str:
    """A short content hash of dataclasses, containers and scalars, stable between processes."""
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"can't hash a {type(value).__name__}")


class Store:
    """The artefacts under one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root / "store"

    def folder(self, kind: str, key: str) -> Path:
        """Where the artefact is, or will be."""
        return self.root / kind / key

    def lock(self, kind: str, key: str) -> filelock.BaseFileLock:
        """Held while an artefact is looked for and made; freed by the system if its owner dies."""
        path = self.root / kind / f".{key}.lock"
        with writable(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(path)

    def find(self, kind: str, key: str) -> dict[str, Any] | None:
        """The artefact's description if it is there whole: every file has its recorded hash."""
        folder = self.folder(kind, key)
        try:
            meta: dict[str, Any] = json.loads((folder / META).read_text())
        except (FileNotFoundError, ValueError):  # not there, or not JSON, or not even text
            return None
        for name, expected in meta["files"].items():
            path = folder / name
            if not path.is_file() or file_hash(path) != expected:
                return None
        return meta

    @contextlib.contextmanager
    def write(self, kind: str, key: str, meta: dict[str, Any]) -> Iterator[Path]:
        """A fresh folder to fill; on a clean exit it becomes the artefact, else it vanishes.

        Whoever writes holds the artefact's lock, so what a killed writer left can go.
        """
        place = self.folder(kind, key)
        with writable(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            for left in place.parent.glob(f".{key}.*/"):
                shutil.rmtree(left, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=place.parent))
            try:
                yield folder
                files = {p.name: file_hash(p) for p in sorted(folder.iterdir())}
                (folder / META).write_text(json.dumps({**meta, "files": files}, indent=1))
                if place.exists():
                    shutil.rmtree(place)
                os.replace(folder, place)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write in ``folder`` into the user's one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"can't write in {folder}: {reason}; {'free some space or ' if full else ''}"
            "choose another folder with root=..."
        ) from error


def write_json(path: Path, value: object) -> None:
    """Write ``value`` so that a reader sees the old file or the new one, never a part."""
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_text(json.dumps(value, indent=1))
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
