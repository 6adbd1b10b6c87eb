"""Training images that are dreamt of a teacher: found by what made them, or made once."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from kdsweep.config import Config, DataConfig
from kdsweep.data import Split
from kdsweep.data.device import DeviceDataset, views_of
from kdsweep.datafree.deep_inversion import Predict, draw_labels, dream, normalised_layers
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.store import Store, digest
from kdsweep.teachers.stored import Found

log = logging.getLogger(__name__)
KIND = "inversion"
IMAGES = "images.safetensors"
VERSION = 1  # raise it when a change of the code changes the images


def check(config: Config, teacher: nn.Module) -> None:
    """See that the teacher can be inverted.

    Raises:
        UserError: it has no batch norm, whose statistics the images are made by.
    """
    if config.distill.inversion is not None and not normalised_layers(teacher):
        raise UserError(
            f"pair.teacher.name={config.teaching.name}: allowed with distill.inversion is a model "
            "with batch norm, whose statistics the images are made by; choose another teacher, "
            "or distill=data_free"
        )


def find_or_make(
    store: Store,
    teacher: Found,
    load: Callable[[], nn.Module],
    config: Config,
    dataset: DeviceDataset,
    hardware: Hardware,
    step: Callable[[int, int], None],
) -> Path:
    """The folder of the images that ``config`` asks for.

    Args:
        store: where they are kept.
        teacher: whom they are dreamt of.
        load: reads its network, in evaluation mode, on the device.
        config: with ``distill.inversion``.
        dataset: for the classes; no image is read.
        hardware: how to execute.
        step: hears how many of all iterations are done.
    """
    inversion = config.distill.inversion
    assert inversion is not None
    key = digest(
        VERSION, teacher.key, inversion, dataset.host.classes, config.data.image_size,
        config.data.mean, config.data.std, hardware.device.type, hardware.bf16,
        str(hardware.dtype),
    )  # fmt: skip
    folder = store.folder(KIND, key)
    with store.lock(KIND, key):
        if store.find(KIND, key) is not None:
            log.info("inversion: %d images found", inversion.images)
            return folder
        _make(store, key, teacher, load(), config, dataset, hardware, step)
    return folder


def _make(
    store: Store,
    key: str,
    teacher: Found,
    model: nn.Module,
    config: Config,
    dataset: DeviceDataset,
    hardware: Hardware,
    step: Callable[[int, int], None],
) -> None:
    from safetensors.torch import save_file

    inversion, started = config.distill.inversion, time.perf_counter()
    assert inversion is not None
    predict = _predictor(model, hardware)
    labels = draw_labels(inversion, dataset.classes, hardware.device)
    mean, std = (
        torch.tensor(values, dtype=torch.float64, device=hardware.device)[:, None, None]
        for values in (config.data.mean, config.data.std)
    )
    limits = ((-mean / std).to(hardware.dtype), ((1 - mean) / std).to(hardware.dtype))
    starts = range(0, inversion.images, inversion.batch_size)
    total, done, parts, right = len(starts) * inversion.iterations, 0, [], 0

    def count() -> None:
        nonlocal done
        done += 1
        step(done, total)

    for batch, start in enumerate(starts):
        own = labels[start : start + inversion.batch_size]
        images = dream(
            model, predict, own, inversion,
            batch=batch, image_size=config.data.image_size, limits=limits, step=count,
        )  # fmt: skip
        pixels = _to_pixels(images, mean, std)
        parts.append(pixels.cpu())
        with torch.no_grad():
            seen = dataset.evaluation.normalise(pixels)
            right += int((predict(seen).argmax(-1) == own).sum())
    share = 100 * right / inversion.images
    meta = {
        "name": "deep_inversion",
        "teacher": teacher.key,
        "images": inversion.images,
        "recognised": share,  # % of the images that the teacher takes for their target
        "seconds": time.perf_counter() - started,
    }
    with store.write(KIND, key, meta) as folder:
        save_file({"images": torch.cat(parts), "labels": labels.cpu()}, folder / IMAGES)
    log.info("inversion: %d images made, the teacher knows %.2f %%", inversion.images, share)


def _predictor(model: nn.Module, hardware: Hardware) -> Predict:
    def predict(images: Tensor) -> Tensor:
        with hardware.autocast():
            logits: Tensor = model(hardware.layout(images))
        return logits

    return predict


def _to_pixels(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def load(folder: Path) -> Split:
    """The images uint8 [n, 3, H, W] and their targets int64 [n]."""
    from safetensors.torch import load_file

    kept = load_file(folder / IMAGES)
    return Split(images=kept["images"], labels=kept["labels"])


def instead_of_real(
    dataset: DeviceDataset, folder: Path, data: DataConfig, hardware: Hardware
) -> DeviceDataset:
    """The same dataset with the dreamt images to train on; they are judged as ever."""
    split = load(folder)
    return dataclasses.replace(
        dataset,
        digest=digest(KIND, folder.name, data.views, data.mean, data.std),
        labels=split.labels.to(hardware.device),
        make_views=partial(views_of, split, data, hardware),
    )
