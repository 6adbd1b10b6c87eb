"""What the checkpoints of a population are found by, and when they go."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import kdsweep
from kdsweep.config import Config
from kdsweep.data.device import DeviceDataset
from kdsweep.engines.networks import PopulationSpec
from kdsweep.errors import TrainingError
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.registry import hide_numbers
from kdsweep.plugins import source_of
from kdsweep.store import Store, digest
from kdsweep.teachers.keys import EXECUTION, content_hash
from kdsweep.train import checkpoint
from kdsweep.train.checkpoint import Checkpoints
from kdsweep.train.population import Member

# Of a configuration, what changes no training, or is a member's own.
_APART = (
    "seed", "seeds", "rounds", "round", "verdict", "study", "trial", "tracking", "engine",
    "storage", "objective", "pruner", "root",
)  # fmt: skip
LIBRARIES = ("torch", "torchvision", "timm")  # that build and train networks


def create_checkpoints(
    spec: PopulationSpec, dataset: DeviceDataset, hardware: Hardware, members: Sequence[Member]
) -> Checkpoints | None:
    """Those of one population; None where the configuration wants none.

    Args:
        spec: what the members have in common.
        dataset: with the real images, also where dreamt ones are trained on.
        hardware: that trains them.
        members: of the population.
    """
    every = spec.config.train.checkpoint_every
    if every == 0:
        return None
    key = setting_key(spec, dataset, hardware)
    return Checkpoints(Store(Path(spec.config.root)), key, members, every=every)


@contextlib.contextmanager
def discarding(
    store: Store,
    spec: PopulationSpec,
    dataset: DeviceDataset,
    hardware: Hardware,
    members: Sequence[Member],
) -> Iterator[None]:
    """Conclude members; then their checkpoints go, however they were spread over processes.

    They go as well where the training has failed, and stay where the conclusion is interrupted.
    """
    key = setting_key(spec, dataset, hardware)
    try:
        yield
    except TrainingError:
        checkpoint.discard(store, key, members)
        raise
    checkpoint.discard(store, key, members)


def setting_key(spec: PopulationSpec, dataset: DeviceDataset, hardware: Hardware) -> str:
    """Names everything that decides how members come out, but their numbers and seeds.

    The code is a part of it, down to the last byte. The study is one where it may send members
    home, since who left is kept.
    """
    config, teacher = spec.config, spec.teacher
    teaching = () if teacher is None else teacher.members or (teacher,)
    return digest(
        code_version(),
        spec.role,
        _in_common(config),
        (config.study, config.pruner) if config.pruner.name != "none" else None,
        dataset.digest,
        dataset.evaluation.name,
        None if spec.images is None else spec.images.name,
        [(one.key, content_hash(one.weights)) for one in teaching],
        [source_of(kind, name) for kind, name in config.entries],
        hardware.device.type,
        hardware.precision,
    )


def _in_common(config: Config) -> dict[str, Any]:
    """Of a configuration, what neither tells members apart nor changes rounding alone."""
    plain = dataclasses.asdict(config)
    for key in _APART:
        del plain[key]
    for key in EXECUTION:
        if key != "bank":  # whose logits may be of half precision
            del plain["train"][key]
    for key in ("lr", "weight_decay"):
        del plain["train"]["optimizer"][key]
    hide_numbers(plain["distill"])
    return plain


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
