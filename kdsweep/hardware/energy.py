"""What the machine says that it has used: CPU packages by RAPL, NVIDIA GPUs by NVML.

Linux shows RAPL's counters under ``/sys/class/powercap``, to root alone on most systems. Of a
counter that can't be read nothing is made up: it is left out, and without any there is no energy.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

POWERCAP = Path("/sys/class/powercap")
LOOK_SECONDS = 60.0  # a CPU's counter starts again at 0 after half an hour or more

Read = Callable[[], float]  # joules, counted up from anywhere


class EnergyMeter:
    """Joules of the whole machine while it is entered, whoever used them.

    Args:
        powercap: where the CPUs' counters are.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters = [*_packages(powercap), *_gpus()]
        self._lock = threading.Lock()
        self._last: list[float] = []
        self._joules = 0.0
        self._ended = threading.Event()

    def read(self) -> float | None:
        """Joules since it was entered; None where nothing counts."""
        if not self._last:
            return None
        with self._lock:
            for i, (read, wraps) in enumerate(self._counters):
                now = read()
                self._joules += now - self._last[i] + (wraps if now < self._last[i] else 0.0)
                self._last[i] = now
            return self._joules

    def __enter__(self) -> Self:
        self._last = [read() for read, _ in self._counters]
        if self._last:
            threading.Thread(target=self._look, daemon=True, name="kdsweep-energy").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.read()


def _packages(powercap: Path) -> Iterator[tuple[Read, float]]:
    """A counter of each CPU package, and where it starts again; their parts are counted in it."""
    for folder in sorted(powercap.glob("intel-rapl:*")):
        if folder.name.count(":") > 1 or not (folder / "energy_uj").exists():
            continue
        with contextlib.suppress(OSError, ValueError):
            read = _reader(folder / "energy_uj")
            read()
            yield read, float((folder / "max_energy_range_uj").read_text()) / 1e6


def _reader(path: Path) -> Read:
    return lambda: float(path.read_text()) / 1e6


def _gpus() -> Iterator[tuple[Read, float]]:
    """A counter of each GPU; NVML's are of 64 bits and don't start again."""
    try:
        import pynvml
    except ImportError:
        return
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for i in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(i)
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            yield _gpu_reader(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle), 0.0


def _gpu_reader(total: Callable[[object], int], handle: object) -> Read:
    return lambda: total(handle) / 1e3
