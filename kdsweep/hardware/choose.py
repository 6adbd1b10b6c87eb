"""How a population is executed: device, precision, memory layout, members per network.

``choose_hardware`` decides and changes nothing; ``configure`` sets up this process accordingly.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kdsweep.config import TrainConfig
from kdsweep.errors import UserError

THREADS_PER_CORE = 4  # at most; more of them only wait for each other
CELLS_ON_CPU, CELLS_ON_GPU = 6, 100  # of a sweep in one batch; at least, and exactly


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is to choose from."""

    cores: int  # that this process may run on
    gpus: int


def this_machine() -> Machine:
    """What this process may use."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine(cores=usable_cores(), gpus=gpus)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The choices made for one machine."""

    device: torch.device
    dtype: torch.dtype  # of parameters
    bf16: bool  # activations under autocast
    tf32: bool = False  # float32 products with 10 bits of mantissa, on a GPU's tensor cores
    channels_last: bool
    grouped: bool  # several members as one grouped network, else one after another
    workers: int  # processes of one thread each that share the members of a population
    threads: int = 1  # of this process, on a CPU

    @property
    def precision(self) -> str:
        """The name that ``train.precision`` has for it."""
        if self.bf16 or self.tf32:
            return "bf16" if self.bf16 else "tf32"
        return str(self.dtype).removeprefix("torch.")

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
        return f"cpu ({self.threads} threads)"


def choose_hardware(config: TrainConfig, machine: Machine | None = None) -> Hardware:
    """Settle every ``auto`` and null of ``config`` for a machine; None: for this one.

    Raises:
        UserError: something was asked for that the machine does not have.
    """
    machine = this_machine() if machine is None else machine
    device = _device(config.device, machine)
    on_gpu = device.type == "cuda"
    if config.fuse == "workers" and on_gpu:
        raise UserError(
            "train.fuse=workers: allowed on a CPU, where each core takes a process; choose "
            "train.fuse=auto or grouped on a GPU, or train.device=cpu"
        )
    if config.precision == "tf32" and not on_gpu:
        raise UserError(
            "train.precision=tf32: allowed on a GPU, whose tensor cores have it; choose "
            "train.precision=float32 on a CPU"
        )
    most = THREADS_PER_CORE * machine.cores
    if config.threads is not None and config.threads > most:
        raise UserError(
            f"train.threads={config.threads}: allowed is 1 to {most} on this machine, "
            f"{THREADS_PER_CORE} for each core that this process may use"
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if on_gpu else "float32"
    threads = config.threads or machine.cores
    wants_workers = config.fuse == "workers" or (config.fuse == "auto" and not on_gpu)
    return Hardware(
        device=device,
        dtype=torch.float64 if precision == "float64" else torch.float32,
        bf16=precision == "bf16",
        tf32=precision == "tf32",
        channels_last=not on_gpu if config.channels_last is None else config.channels_last,
        grouped=config.fuse == "grouped" or (config.fuse == "auto" and on_gpu),
        workers=threads if wants_workers else 1,
        threads=threads,
    )


def on_this_machine(hardware: Hardware, machine: Machine | None = None) -> Hardware:
    """What this process computes with itself, where others train on ``hardware``.

    The precision stays, but for tf32, which no CPU has.

    Args:
        hardware: of the slots that train.
        machine: this one; None: it is looked at.
    """
    machine = this_machine() if machine is None else machine
    if hardware.device.type == "cuda" and machine.gpus:
        return hardware
    return replace(
        hardware,
        device=torch.device("cpu"),
        tf32=False,
        channels_last=True,
        grouped=False,
        workers=1,
        threads=machine.cores,
    )


def configure(hardware: Hardware) -> None:
    """Set up this process for ``hardware``: torch's threads, its float32, the allocator."""
    if hardware.device.type == "cpu":
        torch.set_num_threads(hardware.threads)
        _keep_memory()
    else:
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = hardware.tf32
        torch.backends.cudnn.allow_tf32 = hardware.tf32


@contextlib.contextmanager
def configuration_kept() -> Iterator[None]:
    """Put back at the end what ``configure`` changes in torch."""
    threads, cuda, cudnn = torch.get_num_threads(), torch.backends.cuda, torch.backends.cudnn
    tf32, convolutions, benchmark = cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        cuda.matmul.allow_tf32 = tf32
        cudnn.allow_tf32 = convolutions
        cudnn.benchmark = benchmark


def batch_of_cells(cores: int, seeds: int, *, on_gpu: bool) -> int:
    """How many cells of a sweep train at a time, unless it says otherwise.

    On a CPU two members for each core, so that an uneven split costs little, and 6 cells at
    least; on a GPU 100, which are one network.

    Args:
        cores: that may be used.
        seeds: members of one cell.
        on_gpu: whether they train on a GPU.
    """
    if on_gpu:
        return CELLS_ON_GPU
    return max(CELLS_ON_CPU, math.ceil(2 * cores / seeds))


def _device(name: str, machine: Machine) -> torch.device:
    if name == "auto":
        name = "cuda" if machine.gpus else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not machine.gpus:
        raise UserError(
            f"train.device={name}: this machine has no usable GPU; use train.device=cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= machine.gpus:
        raise UserError(f"train.device={name}: allowed is cuda:0 to cuda:{machine.gpus - 1} here")
    return device


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
