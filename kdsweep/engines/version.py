"""The code that trains, as a digest: results of another are not taken for this one's."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kdsweep
from kdsweep.store import digest

LIBRARIES = ("torch", "torchvision", "timm")  # that build and train networks


@functools.cache
def code_version() -> str:
    """A digest of this package's source and the versions of the libraries that train."""
    hashed = hashlib.sha256()
    folder = Path(kdsweep.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        hashed.update(f"{path.relative_to(folder)}\n".encode())
        hashed.update(path.read_bytes())
    return digest(hashed.hexdigest(), [_version(name) for name in LIBRARIES])


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
