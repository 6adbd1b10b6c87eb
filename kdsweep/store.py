"""Artefacts found by the hash of everything that made them.

An artefact is a folder ``<root>/store/<kind>/<key>`` that appears all at once: it is written
beside its place, under a lock, and renamed into it once it has reached the disk. Processes that
want the same artefact wait for one another instead of making it twice. What is found damaged
counts as absent, with a line in the log.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from kdsweep.errors import UserError

META = "meta.json"
CHECKSUM = "sha256"  # of the rest of a JSON object that carries it
GROUP_LOCKS = 64  # lock files, and open files, that any number of artefacts shares

log = logging.getLogger(__name__)


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
        return self._lock(kind, f".{key}.lock")

    def group_locks(self, kind: str, keys: Iterable[str]) -> list[filelock.BaseFileLock]:
        """Hold whatever number of artefacts of one kind with ``GROUP_LOCKS`` open files at most.

        Groups that have a key in common wait for one another; now and then others do, too. A kind
        is locked by groups or one by one (``lock``), never by both: they don't see one another.
        They are in one order for all processes, so that nobody waits in a circle.
        """
        shares = {zlib.crc32(key.encode()) % GROUP_LOCKS for key in keys}
        return [self._lock(kind, f".group-{share}.lock") for share in sorted(shares)]

    def _lock(self, kind: str, name: str) -> filelock.BaseFileLock:
        path = self.root / kind / name
        with writable(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(path)

    def find(self, kind: str, key: str) -> dict[str, Any] | None:
        """The artefact's description if it is there whole.

        The description has its own checksum, and every file its recorded one; else it counts as
        absent, and a line in the log says so.
        """
        folder = self.folder(kind, key)
        meta = find_json(folder / META, checked=True)
        if meta is None:
            return None
        for name, expected in meta["files"].items():
            path = folder / name
            if not path.is_file() or file_hash(path) != expected:
                log.warning("%s: damaged, it counts as absent", path)
                return None
        return meta

    @contextlib.contextmanager
    def write(self, kind: str, key: str, meta: Mapping[str, Any]) -> Iterator[Path]:
        """A fresh folder to fill; on a clean exit it becomes the artefact, else it vanishes.

        Whoever writes holds the artefact's lock, so what a killed writer left can go. Everything
        is on the disk before the folder gets its name: a power cut leaves all or nothing.
        """
        place = self.folder(kind, key)
        with writable(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            for left in place.parent.glob(f".{key}.*/"):
                shutil.rmtree(left, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=place.parent))
            try:
                yield folder
                paths = sorted(folder.iterdir())
                files = {path.name: file_hash(path) for path in paths}
                content = with_checksum({**meta, "files": files})
                (folder / META).write_text(json.dumps(content, indent=1))
                for path in (*paths, folder / META, folder):
                    sync(path)
                if place.exists():
                    shutil.rmtree(place)
                os.replace(folder, place)
                sync(place.parent)
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


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, have reached the disk (POSIX)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as ``write_text`` does."""
    write_text(path, json.dumps(value, indent=1))


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` of text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    That holds for a power cut, too: the bytes are on the disk before the file gets its name.
    """
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_bytes(content)
            sync(beside)
            os.replace(beside, path)
            sync(path.parent)
        finally:
            beside.unlink(missing_ok=True)


class DamagedError(Exception):
    """What is wrong with the content of a file, in a few words."""


def load_json(path: Path, *, checked: bool = False) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file.

    Args:
        path: the file.
        checked: the object carries a checksum (``with_checksum``), which has to be right.

    Raises:
        DamagedError: the file is there, and can't be read as such an object.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedError(error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:  # not JSON, or not even text
        raise DamagedError("not JSON") from error
    if not isinstance(content, dict):
        raise DamagedError("not a JSON object")
    if checked and content.get(CHECKSUM) != _checksum(content):
        raise DamagedError("its checksum is another")
    return content


def find_json(path: Path, *, checked: bool = False) -> dict[str, Any] | None:
    """``load_json`` for what can be made again: a damaged file is logged and counts as absent."""
    try:
        return load_json(path, checked=checked)
    except DamagedError as error:
        log.warning("%s: damaged (%s), it counts as absent", path, error)
        return None


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object that carries the sha256 of the rest of it."""
    return {**content, CHECKSUM: _checksum(content)}


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
