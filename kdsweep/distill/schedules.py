"""How alpha, temperature or a loss's weight moves over training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from kdsweep.errors import UserError

NAMES = ("constant", "linear", "cosine", "step", "stop")
_KEY = "distill.schedules.*"


@dataclass(frozen=True, kw_only=True)
class HyperSchedule:
    """One hyperparameter over training; epochs may be fractions and count from 0.

    constant: its value. linear, cosine: from its value at ``start_epoch`` to ``end`` at
    ``stop_epoch``, and flat outside. step: times ``gamma`` after every ``step_size`` epochs from
    ``start_epoch``. stop: its value before ``stop_epoch`` and ``end`` from then on, so that
    alpha with ``end`` 0 stops distilling.
    """

    name: str = "constant"
    end: float = 0.0
    start_epoch: float = 0.0
    stop_epoch: float | None = None  # null: the end of training
    gamma: float = 0.5
    step_size: float = 5.0  # epochs

    def __post_init__(self) -> None:
        self._require(self.name in NAMES, "name", "one of " + ", ".join(NAMES))
        self._require(math.isfinite(self.end) and self.end >= 0, "end", "0 or more")
        self._require(self.start_epoch >= 0, "start_epoch", "0 or more")
        self._require(self.name != "stop" or self.stop_epoch is not None, "stop_epoch", "an epoch")
        self._require(
            self.name not in ("linear", "cosine")
            or self.stop_epoch is None
            or self.stop_epoch > self.start_epoch,
            "stop_epoch",
            f"above start_epoch={self.start_epoch}",
        )
        self._require(math.isfinite(self.gamma) and self.gamma > 0, "gamma", "a number above 0")
        self._require(self.step_size > 0, "step_size", "a number above 0")

    def check(self, hyperparameter: str) -> None:
        """Refuse what would leave the range of ``alpha`` or ``temperature``.

        Raises:
            UserError: temperature scheduled to 0, or alpha above 1.
        """
        uses_end = self.name in ("linear", "cosine", "stop")
        if hyperparameter == "temperature" or hyperparameter.endswith(".temperature"):
            ok = not uses_end or self.end > 0
            self._require(ok, "end", f"above 0 for {hyperparameter}")
        if hyperparameter == "alpha":
            self._require(not uses_end or self.end <= 1, "end", "0 to 1 for alpha")
            self._require(self.name != "step" or self.gamma <= 1, "gamma", "up to 1 for alpha")

    def _require(self, ok: bool, field: str, allowed: str) -> None:
        if not ok:
            raise UserError(f"{_KEY}.{field}={getattr(self, field)}: allowed is {allowed}")


def scheduled(value: Tensor, schedule: HyperSchedule, epoch: float, epochs: int) -> Tensor:
    """The value [N] of each member's hyperparameter at ``epoch``.

    Args:
        value: as the user set it [N].
        schedule: shared by the members.
        epoch: epochs trained so far, with fraction.
        epochs: in all.
    """
    stop = epochs if schedule.stop_epoch is None else schedule.stop_epoch
    match schedule.name:
        case "linear":
            return value + (schedule.end - value) * _progress(schedule, epoch, stop)
        case "cosine":
            rest = (1 + math.cos(math.pi * _progress(schedule, epoch, stop))) / 2
            return schedule.end + (value - schedule.end) * rest
        case "step":
            steps = math.floor(max(epoch - schedule.start_epoch, 0.0) / schedule.step_size)
            return value * schedule.gamma**steps
        case "stop":
            return value if epoch < stop else value * 0 + schedule.end
        case _:
            return value


def _progress(schedule: HyperSchedule, epoch: float, stop: float) -> float:
    if epoch <= schedule.start_epoch:
        return 0.0
    return min((epoch - schedule.start_epoch) / (stop - schedule.start_epoch), 1.0)
