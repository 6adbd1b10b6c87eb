"""What a machine does while it trains, in MLflow's own metrics ``system/...``.

MLflow's monitors measure. Its own thread would write to the store by itself, and end where that
is away; here the numbers take the way of all metrics.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsweep.tracking.tracker import Tracker

INTERVAL_S = 10.0


class SystemMonitor:
    """Logs processors, memory, disk, network and GPUs to a run, from now until ``stop``.

    MLflow's variables ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` (false: nothing is measured) and
    ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` (s) are heeded.
    """

    def __init__(self, tracker: Tracker, run: str) -> None:
        self._tracker = tracker
        self._run = run
        self._step = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="kdsweep-system", daemon=True)
        if is_wanted():
            self._thread.start()

    def stop(self) -> None:
        """Log once more, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        monitors = _monitors()
        interval = float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or INTERVAL_S)
        stopped = False
        while not stopped:
            self._log(monitors)
            stopped = self._stop.wait(interval)
        self._log(monitors)

    def _log(self, monitors: list[Any]) -> None:
        found: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        self._tracker.log_metrics(
            self._run, {f"system/{name}": value for name, value in found.items()}, step=self._step
        )
        self._step += 1


def is_wanted() -> bool:
    """Whether system metrics are logged: unless MLflow's own variable says no."""
    return os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() != "false"


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    makers: list[Callable[[], Any]] = [CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor]
    found = []
    for make in makers:
        with contextlib.suppress(ImportError, RuntimeError):  # no GPU, or no driver
            found.append(make())
    return found
