"""What a network costs: parameters, size, FLOPs, latency, and how two networks compare."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

MIB = 2**20  # bytes
WARMUP_BATCHES = 10
TIMED_BATCHES = 100
RATIOS = {
    "parameters": "compression_ratio_parameters",
    "size_mib": "compression_ratio_size",
    "flops_per_image": "compression_ratio_flops",
    "latency_ms_p50": "compression_ratio_latency",
}


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time from a batch on the device to its logits there, in milliseconds a batch."""

    p50_ms: float
    p95_ms: float
    mean_ms: float
    batch_size: int
    batches: int
    device: str  # the processor's own name
    threads: int  # of PyTorch on a CPU

    def metrics(self) -> dict[str, float]:
        """The numbers under names that carry their units."""
        return {
            "latency_ms_p50": self.p50_ms,
            "latency_ms_p95": self.p95_ms,
            "latency_ms_mean": self.mean_ms,
            "latency_batch_size": self.batch_size,
            "latency_threads": self.threads,
        }


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model learns or could learn; shared tensors count once."""
    return sum(p.numel() for p in model.parameters())


def size_mib(model: nn.Module) -> float:
    """Bytes of parameters and buffers / 2**20, in the types that they have now."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors) / MIB


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; then each module is put back in its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def flops_per_image(model: nn.Module, images: Tensor) -> int:
    """Floating-point operations of one image's forward pass, two for each multiply-add.

    Counted by ``torch.utils.flop_counter``: convolutions, matrix products and attention, without
    biases, normalisation and activations.

    Args:
        model: maps [B, 3, H, W] to logits.
        images: [B, 3, H, W] on the model's device; only the first is used.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with _inference(model), counter:
        model(images[:1])
    return int(counter.get_total_flops())


def device_name(device: torch.device) -> str:
    """What the processor calls itself, such as "NVIDIA H200" or "AMD EPYC 7B13"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    info = Path("/proc/cpuinfo")  # Linux; elsewhere the platform module knows the name
    name = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.exists() else None
    return name[1].strip() if name else platform.processor() or platform.machine()


def measure_latency(
    model: nn.Module,
    images: Tensor,
    *,
    warmup: int = WARMUP_BATCHES,
    batches: int = TIMED_BATCHES,
) -> Latency:
    """Time the same batch again and again, waiting for the device after each.

    Precision is the caller's: the model's types, and autocast where the caller is inside one.

    Args:
        model: maps [B, 3, H, W] to logits.
        images: [B, 3, H, W] on the model's device, which is the one that is timed.
        warmup: batches before the first that is timed.
        batches: batches that are timed.
    """

    def wait() -> None:
        if images.device.type != "cpu":
            torch.accelerator.synchronize(images.device)

    times = np.empty(batches)
    with _inference(model):
        for _ in range(warmup):
            model(images)
        wait()
        for i in range(batches):
            start = time.perf_counter()
            model(images)
            wait()
            times[i] = 1e3 * (time.perf_counter() - start)
    p50, p95 = np.percentile(times, (50, 95))
    return Latency(
        p50_ms=float(p50),
        p95_ms=float(p95),
        mean_ms=float(times.mean()),
        batch_size=len(images),
        batches=batches,
        device=device_name(images.device),
        threads=torch.get_num_threads(),
    )


def compression(teacher: Mapping[str, float], student: Mapping[str, float]) -> dict[str, float]:
    """How many times larger the teacher is, for each cost that both have been measured for."""
    return {
        ratio: teacher[cost] / student[cost]
        for cost, ratio in RATIOS.items()
        if cost in teacher and cost in student
    }


def efficiency(accuracy: float, costs: Mapping[str, float]) -> float:
    """Accuracy in percent / (size in MiB * median latency in ms): more is better."""
    return accuracy / (costs["size_mib"] * costs["latency_ms_p50"])
