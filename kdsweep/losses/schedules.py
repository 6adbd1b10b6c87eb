"""How alpha, temperature or a loss's weight moves over training."""

from __future__ import annotations

import math

from torch import Tensor

from kdsweep.config.schedules import HyperSchedule


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
