"""How many members fit into a GPU's memory as one network: measured, not guessed."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from kdsweep.hardware.choose import Hardware
from kdsweep.train.population import Population

log = logging.getLogger(__name__)
RESERVE = 0.1  # of the free memory, for what is not measured: fragments, evaluation


def members_that_fit(one: int, two: int, free: int) -> int:
    """The largest population whose step fits, from the peaks of one and of two members.

    Memory grows linearly in members: the slope is what the second one added.

    Args:
        one: bytes that a step of one member takes at its peak.
        two: the same of two members.
        free: bytes that there are.
    """
    slope = max(two - one, 1)
    return max(1, 1 + int((free * (1 - RESERVE) - one) // slope))


def measure_fit(step: Callable[[int], None], device: torch.device) -> int:
    """How many members fit on ``device``, from a step of one and a step of two.

    One where not even two do; whether one does is then for the training to find out.

    Args:
        step: runs forward and backward of so many members.
        device: a GPU.
    """
    peaks = []
    try:
        for members in (1, 2):
            step(members)  # the first one also takes the libraries' own workspace
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            step(members)
            peaks.append(torch.cuda.max_memory_allocated(device) - before)
    except torch.OutOfMemoryError:
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return members_that_fit(peaks[0], peaks[1], free + cached)


def population_that_fits(population: Population, batch: Tensor, hardware: Hardware) -> int:
    """How many of the members a GPU holds as one network, from steps on images [1, B, C, H, W]."""
    before = population.snapshot()

    def step(members: int) -> None:
        chunk = population.chunks(members, tuple(batch.shape[2:]))[0]
        with hardware.autocast():
            outputs, _ = chunk.forward(batch, step=0, train=True)
        torch.autograd.grad(outputs.logits.logsumexp(-1).sum(), chunk.leaves, allow_unused=True)

    fit = measure_fit(step, population.device)
    population.restore(before)
    if fit < len(population):
        log.info("memory holds %d of %d students at a time", fit, len(population))
    return fit
