"""From a teacher that is there to its outputs for a population: banked where that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdsweep.config import Config
from kdsweep.data.device import DeviceDataset
from kdsweep.hardware.choose import Hardware
from kdsweep.store import file_hash
from kdsweep.teachers.bank import Banks, LogitBank
from kdsweep.teachers.banked import BankedTeacher
from kdsweep.teachers.ensemble import EnsembleOutputs
from kdsweep.teachers.keys import bank_name
from kdsweep.teachers.live import LiveTeacher
from kdsweep.teachers.stored import Found
from kdsweep.train.interfaces import TeacherOutputs

BANK_LIMIT = 16 << 30  # bytes of a bank that is still worth its disk and memory


def create_outputs(
    found: Found,
    models: Sequence[nn.Module],
    config: Config,
    dataset: DeviceDataset,
    hardware: Hardware,
    *,
    banks: Banks,
    taps: tuple[str, ...] = (),
    on_fill: Callable[[int], None] | None = None,
) -> TeacherOutputs:
    """What teaches a population: one network, or every one of an ensemble.

    Args:
        found: the teacher.
        models: its network, or its members' ones, on the device.
        config: any member's.
        dataset: on whose images; a generator's have no views to bank.
        hardware: how to run the teacher.
        taps: features that the losses look at: they are not banked.
        on_fill: hears how many views are about to be computed.
        banks: those that are open.

    Raises:
        UserError: the bank's folder can't be written.
    """
    networks = found.members or (found,)
    each: list[TeacherOutputs]
    if taps or not _is_bankable(config, dataset, hardware):
        each = [LiveTeacher(model, hardware, taps) for model in models]
    else:
        dtype = bank_dtype(hardware)
        opened = banks.open(
            [_folder(network, config, dataset, hardware) for network in networks],
            _shape(dataset),
            dtype=dtype,
            device=hardware.device,
        )
        each = [
            BankedTeacher(model, bank, views=dataset.views, hardware=hardware, on_fill=on_fill)
            for model, bank in zip(models, opened, strict=True)
        ]
    return EnsembleOutputs(each) if len(each) > 1 else each[0]


def bank_dtype(hardware: Hardware) -> np.dtype[np.floating]:
    """Of stored logits: half precision, but for a training in double precision."""
    return np.dtype(np.float32 if hardware.dtype == torch.float64 else np.float16)


def _is_bankable(config: Config, dataset: DeviceDataset, hardware: Hardware) -> bool:
    if config.distill.generator is not None or not config.train.bank:
        return False
    if not dataset.views.discrete:
        return False
    return LogitBank.size_bytes(_shape(dataset), bank_dtype(hardware)) <= BANK_LIMIT


def _shape(dataset: DeviceDataset) -> tuple[int, int, int]:
    return len(dataset.labels), dataset.views.count, dataset.classes


def _folder(network: Found, config: Config, dataset: DeviceDataset, hardware: Hardware) -> Path:
    dtype = str(bank_dtype(hardware))
    name = bank_name(network.key, file_hash(network.weights), dataset, hardware, dtype)
    return Path(config.root) / "store" / "bank" / name
