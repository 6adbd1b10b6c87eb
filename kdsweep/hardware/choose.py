"""How a population is executed: device, precision, memory layout, members per network."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from kdsweep.config import TrainConfig
from kdsweep.errors import UserError

THREADS_PER_CORE = 4  # at most; more of them only wait for each other


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The choices made for one machine."""

    device: torch.device
    dtype: torch.dtype  # of parameters
    bf16: bool  # activations under autocast
    channels_last: bool
    grouped: bool  # several members as one grouped network, else one after another
    workers: int  # processes of one thread each that share the members of a population

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of a forward pass."""
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def layout(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in the memory format of this machine."""
        if self.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def chunk_size(self, members: int) -> int:
        """How many members run as one network."""
        return max(members, 1) if self.grouped else 1

    def describe(self) -> str:
        """The device's name, for logs and tags."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"cpu ({torch.get_num_threads()} threads)"


def choose_hardware(config: TrainConfig) -> Hardware:
    """Settle every ``auto`` of ``config`` for this machine.

    Raises:
        UserError: a GPU was asked for and there is none, or far more threads than cores.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = _device(name)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "float32"
    most = THREADS_PER_CORE * usable_cores()
    if config.threads is not None and config.threads > most:
        raise UserError(
            f"train.threads={config.threads}: allowed is 1 to {most} on this machine, "
            f"{THREADS_PER_CORE} for each core that this process may use"
        )
    if device.type == "cpu":
        torch.set_num_threads(config.threads or usable_cores())
        _keep_memory()
    else:
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    on_gpu = device.type == "cuda"
    return Hardware(
        device=device,
        dtype=torch.float64 if precision == "float64" else torch.float32,
        bf16=precision == "bf16",
        channels_last=config.channels_last and not on_gpu,
        grouped=config.fuse == "grouped" or (config.fuse == "auto" and on_gpu),
        workers=config.threads or usable_cores() if _wants_workers(config, on_gpu) else 1,
    )


def _device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"train.device={name}: this machine has no usable GPU; use train.device=cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"train.device={name}: allowed is cuda:0 to cuda:{last} here")
    return device


def _wants_workers(config: TrainConfig, on_gpu: bool) -> bool:
    return config.fuse == "workers" or (config.fuse == "auto" and not on_gpu)


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _keep_memory() -> None:
    """Make glibc keep freed memory: mapping large tensors anew at each step costs up to 1.6 x."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)
        libc.mallopt(top_pad, 64 << 20)
