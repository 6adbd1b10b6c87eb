"""Learning-rate schedules as pure functions of time: the factor on the base learning rate."""

from __future__ import annotations

import math

from kdsweep.config import ScheduleConfig

ANNEALED = 0.05  # of the highest rate: by then one epoch's weights hardly differ from the next's


def learning_rate_factor(config: ScheduleConfig, epoch: float, epochs: int) -> float:
    """The factor at ``epoch`` (fractions are steps within it) of a training of ``epochs``.

    ``step`` and ``multistep`` change at whole epochs and equal torch's StepLR and MultiStepLR;
    ``cosine`` moves at every step (Loshchilov & Hutter 2017, eq. 5, without restarts);
    ``onecycle`` rises and falls on cosines (Smith & Topin 2018, as torch's OneCycleLR anneals).
    A warm-up multiplies any of them by a line from 0 to 1.
    """
    warmup = config.warmup_epochs
    ramp = min(1.0, epoch / warmup) if warmup > 0 else 1.0
    return ramp * _plain_factor(config, epoch, epochs)


def anneals(config: ScheduleConfig, epochs: int) -> bool:
    """Whether the last step's learning rate is at most ``ANNEALED`` of the highest one."""
    times = [epochs * i / 1000 for i in range(1000)]
    highest = max(learning_rate_factor(config, time, epochs) for time in times)
    last = learning_rate_factor(config, math.nextafter(epochs, 0.0), epochs)
    return last <= ANNEALED * highest


def _plain_factor(config: ScheduleConfig, epoch: float, epochs: int) -> float:
    if config.name == "constant":
        return 1.0
    if config.name == "step":
        return config.gamma ** (int(epoch) // config.step_size)
    if config.name == "multistep":
        return config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
    if config.name == "cosine":
        length = max(epochs - config.warmup_epochs, 1e-9)
        done = min(max(epoch - config.warmup_epochs, 0.0) / length, 1.0)
        return _cosine(1.0, config.final_factor, done)
    assert config.name == "onecycle", config.name
    done = min(epoch / epochs, 1.0)
    peak = config.peak_fraction
    if done < peak:
        return _cosine(config.initial_factor, 1.0, done / peak)
    return _cosine(1.0, config.final_factor, (done - peak) / (1 - peak))


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
