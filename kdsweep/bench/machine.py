"""The machine that is measured: its name, its peak, and the floor that both give."""

from __future__ import annotations

import contextlib
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdsweep.evaluate.cost import device_name


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, cores, versions."""
    import torchvision

    from kdsweep.hardware.choose import usable_cores

    return {
        "device": device_name(device),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def convolution_peak(device: torch.device, *, bf16: bool, seconds: float = 1.0) -> float:
    """The most FLOP/s that a large 3 x 3 convolution reaches here, forward."""
    channels, size, batch = (256, 32, 64) if device.type == "cuda" else (128, 16, 64)
    dtype = torch.bfloat16 if bf16 else torch.float32
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, dtype)
    layer = layer.to(memory_format=torch.channels_last)
    images = torch.randn(batch, channels, size, size, device=device, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    flops = 2 * batch * size * size * channels * channels * 9
    best = 0.0
    with torch.no_grad():
        layer(images)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            started = time.perf_counter()
            for _ in range(5):
                layer(images)
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 5 * flops / (time.perf_counter() - started))
    return best


def reset_peak(device: torch.device) -> None:
    """Forget the most memory that was held so far, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory_gib(device: torch.device) -> float:
    """The most memory that this process, or the GPU, has held since the peak was reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    import resource

    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return own / 2**20
