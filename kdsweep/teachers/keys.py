"""What a trained network is found by: a digest of everything that decides how it comes out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from kdsweep.config import Config
from kdsweep.data.device import DeviceDataset
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.store import digest, file_hash

RECIPE_VERSION = 2  # raise it when a change of the code changes what training gives


def recipe(config: Config, dataset: DeviceDataset, hardware: Hardware) -> dict[str, Any]:
    """Everything that decides how a network without a teacher comes out, but model and seed."""
    train = dataclasses.asdict(config.train)
    for name in ("device", "precision", "threads", "fuse", "bank", "channels_last"):
        del train[name]
    return {
        "version": RECIPE_VERSION,
        "data": dataset.digest,
        "split": dataset.evaluation.name,
        "classes": dataset.host.classes,
        "image_size": config.data.image_size,
        "train": train,
        "schedule": config.schedule,
        "device": hardware.device.type,
        "bf16": hardware.bf16,
        "tf32": hardware.tf32,
        "dtype": str(hardware.dtype),
    }


def teacher_config(config: Config) -> Config:
    """The config that the teacher is trained with: ``train`` with what is the teacher's own."""
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
    return dataclasses.replace(config, train=train)


def teacher_key(config: Config, dataset: DeviceDataset, hardware: Hardware) -> str:
    """What the teacher of ``config`` is found by."""
    if config.teacher.checkpoint is not None:
        path = Path(config.teacher.checkpoint)
        if not path.is_file():
            raise UserError(
                f"teacher.checkpoint={path}: no such file; give a safetensors or torch state dict"
            )
        return digest(
            "checkpoint",
            RECIPE_VERSION,
            file_hash(path),
            config.pair.teacher,
            dataset.digest,
        )
    own = recipe(teacher_config(config), dataset, hardware)
    if config.teacher.checkpoint_epoch is not None:
        own["checkpoint_epoch"] = config.teacher.checkpoint_epoch
    return digest("teacher", own, config.pair.teacher, config.teacher.seed)


def baseline_key(config: Config, dataset: DeviceDataset, hardware: Hardware, seed: int) -> str:
    """What the baseline student with this seed is found by."""
    return digest("baseline", recipe(config, dataset, hardware), config.pair.student, seed)
