"""What a stored network is found by: a digest of everything that decides how it comes out."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from kdsweep.config import Config, ModelConfig
from kdsweep.data.device import DeviceDataset
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.plugins import source_of
from kdsweep.store import digest, file_hash

# Of ``train``: how it is executed, which changes nothing but rounding, or is named otherwise.
EXECUTION = (
    "device", "precision", "threads", "fuse", "bank", "channels_last", "checkpoint_every",
)  # fmt: skip
RECIPE_VERSION = 3  # raise it when a change of the code changes what training gives


def recipe(config: Config, dataset: DeviceDataset, hardware: Hardware) -> dict[str, Any]:
    """Everything that decides how a network without a teacher comes out, but model and seed."""
    train = dataclasses.asdict(config.train)
    for name in EXECUTION:
        del train[name]
    made = {
        **_setting(config, dataset, hardware),
        "train": train,
        "schedule": config.schedule,
    }
    return {**made, "ema": config.evaluate.ema} if config.evaluate.ema else made


def _setting(config: Config, dataset: DeviceDataset, hardware: Hardware) -> dict[str, Any]:
    """What a network is run on, and how: it is in the key of every one, trained or given."""
    return {
        "version": RECIPE_VERSION,
        "data": dataset.digest,
        "split": dataset.evaluation.name,
        "classes": dataset.host.classes,
        "image_size": config.data.image_size,
        "device": hardware.device.type,
        "bf16": hardware.bf16,
        "tf32": hardware.tf32,
        "dtype": str(hardware.dtype),
    }


def architecture(model: ModelConfig) -> dict[str, Any]:
    """A model with what its weights are: the content of a file, wherever it lies, or a name.

    A plugin's model has the source that it is made by.
    """
    plain = dataclasses.asdict(model)
    if not model.kwargs:
        del plain["kwargs"]
    if (source := source_of("model", model.name)) is not None:
        plain["source"] = source
    if model.weights is not None and Path(model.weights).expanduser().is_file():
        plain["weights"] = {"sha256": content_hash(Path(model.weights).expanduser())}
    return plain


def content_hash(path: Path) -> str:
    """The sha256 of a user's file, which is read again only where the file has changed."""
    stat = path.stat()
    return _hash(path.resolve(), (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@functools.lru_cache(maxsize=64)
def _hash(path: Path, stamp: tuple[int, ...]) -> str:
    return file_hash(path)


def teacher_config(config: Config) -> Config:
    """The config that the teacher is trained with: ``train`` with what is the teacher's own.

    Its weights are never averaged: ``evaluate`` is about what students are judged by.
    """
    own, train = config.teacher, config.train
    optimizer = dataclasses.replace(
        train.optimizer,
        lr=train.optimizer.lr if own.lr is None else own.lr,
        weight_decay=(
            train.optimizer.weight_decay if own.weight_decay is None else own.weight_decay
        ),
    )
    epochs = train.epochs if own.epochs is None else own.epochs
    train = dataclasses.replace(train, epochs=epochs, optimizer=optimizer)
    evaluate = dataclasses.replace(config.evaluate, ema=0.0)
    return dataclasses.replace(config, train=train, evaluate=evaluate)


def teacher_key(config: Config, dataset: DeviceDataset, hardware: Hardware) -> str:
    """What the teacher of ``config`` is found by.

    Raises:
        UserError: the user's checkpoint is not there.
    """
    model = architecture(config.pair.teacher)
    if config.teacher.checkpoint is not None:
        path = Path(config.teacher.checkpoint).expanduser()
        if not path.is_file():
            raise UserError(
                f"teacher.checkpoint={config.teacher.checkpoint}: no such file; give a "
                "safetensors or torch state dict"
            )
        return digest("checkpoint", _setting(config, dataset, hardware), content_hash(path), model)
    own = recipe(teacher_config(config), dataset, hardware)
    if config.teacher.checkpoint_epoch is not None:
        own["checkpoint_epoch"] = config.teacher.checkpoint_epoch
    return digest("teacher", own, model, config.teacher.seed)


def assistant_key(
    config: Config, dataset: DeviceDataset, hardware: Hardware, seed: int, teacher: str
) -> str:
    """What an assistant, ``config.pair.student``, is found by.

    Args:
        config: what it is trained with, its own teacher's distillation included.
        dataset: on what.
        hardware: how.
        seed: its own.
        teacher: the key of the network that teaches it.
    """
    distill = dataclasses.asdict(config.distill)
    del distill["inversion"], distill["generator"]  # an assistant sees real images
    models = [architecture(model) for model in (config.pair.teacher, config.pair.student)]
    own = recipe(config, dataset, hardware)
    return digest("assistant", own, models, distill, seed, teacher)


def baseline_key(config: Config, dataset: DeviceDataset, hardware: Hardware, seed: int) -> str:
    """What the baseline student with this seed is found by."""
    model = architecture(config.pair.student)
    return digest("baseline", recipe(config, dataset, hardware), model, seed)


def bank_name(
    key: str, weights: str, dataset: DeviceDataset, hardware: Hardware, dtype: str
) -> str:
    """What the bank of a network's logits is found by.

    Args:
        key: the network's own, which has its architecture.
        weights: the sha256 of its parameters, which are others where it was trained anew.
        dataset: whose images, in which views; dreamt ones have a digest of their own.
        hardware: how it is run.
        dtype: of the stored logits, such as float16.
    """
    run = f"{hardware.device.type}-{hardware.precision}"
    made = digest(RECIPE_VERSION, key, weights, dataset.digest, run)
    return f"{made}-{dtype}"
