"""A population on its way to a machine that may not share this one's disk."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdsweep.engines.networks import PopulationSpec
from kdsweep.teachers.stored import Found


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """A population with the files of its teachers and of dreamt images.

    Attributes:
        spec: whose folders are absolute.
        files: of each folder, by name; they are read where the folder is not there.
        directory: that relative paths of the configuration begin in.
    """

    spec: PopulationSpec
    files: dict[Path, dict[str, bytes]]
    directory: Path


def pack(spec: PopulationSpec) -> Shipment:
    """Read what the population needs besides its data."""
    teacher = None if spec.teacher is None else _absolute(spec.teacher)
    images = None if spec.images is None else spec.images.resolve()
    spec = dataclasses.replace(spec, teacher=teacher, images=images)
    files = {
        folder: {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        for folder in _folders(spec)
    }
    return Shipment(spec=spec, files=files, directory=Path.cwd())


def unpack(shipment: Shipment) -> PopulationSpec:
    """The population here: with this machine's folders, or with copies of the sender's.

    The working directory becomes the sender's, where this machine has it.
    """
    if shipment.directory.is_dir():
        os.chdir(shipment.directory)
    spec, moved = shipment.spec, {}
    for folder, files in shipment.files.items():
        if not all((folder / name).is_file() for name in files):
            moved[folder] = Path(tempfile.mkdtemp(prefix="kdsweep-")) / folder.name
            moved[folder].mkdir()
            for name, content in files.items():
                (moved[folder] / name).write_bytes(content)
    teacher = None if spec.teacher is None else _moved(spec.teacher, moved)
    images = None if spec.images is None else moved.get(spec.images, spec.images)
    return dataclasses.replace(spec, teacher=teacher, images=images)


def _folders(spec: PopulationSpec) -> Iterator[Path]:
    if spec.teacher is not None:
        yield from (one.folder for one in spec.teacher.members or (spec.teacher,))
    if spec.images is not None:
        yield spec.images


def _absolute(found: Found) -> Found:
    members = tuple(map(_absolute, found.members))
    return dataclasses.replace(found, folder=found.folder.resolve(), members=members)


def _moved(found: Found, moved: dict[Path, Path]) -> Found:
    members = tuple(_moved(one, moved) for one in found.members)
    folder = moved.get(found.folder, found.folder)
    return dataclasses.replace(found, folder=folder, members=members)
