"""Peak memory of a population, by how many members it has."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from kdsweep.bench import machine
from kdsweep.bench.clock import Clock
from kdsweep.config import Config
from kdsweep.data.device import Datasets
from kdsweep.engines.networks import PopulationSpec
from kdsweep.engines.population import train_population
from kdsweep.hardware.choose import choose_hardware, configure
from kdsweep.jobs.grouping import numbers
from kdsweep.teachers.stored import Found
from kdsweep.train.population import Member

GRID = [(t, a) for a in (0.1, 0.3, 0.5, 0.7, 0.9) for t in (1.0, 2.0, 3.0, 4.0, 5.0)]
STEPS = 2  # after the first, a step takes no more memory


def grid_members(config: Config, count: int) -> list[Member]:
    """The cells of the 5 x 5 grid, over again with the next seed once they are used up."""
    return [
        Member(
            name=f"cell {i}",
            seed=i // len(GRID),
            hyper={
                **numbers(config),
                "temperature": GRID[i % len(GRID)][0],
                "alpha": GRID[i % len(GRID)][1],
            },
        )
        for i in range(count)
    ]


def memory_by_members(config: Config, teacher: Found, counts: Sequence[int]) -> dict[str, float]:
    """Peak GiB of populations of these sizes, each in one process of its own."""
    data = dataclasses.replace(config.data, train_limit=STEPS * config.train.batch_size)
    train = dataclasses.replace(config.train, epochs=1)
    config = dataclasses.replace(config, data=data, train=train)
    return {str(count): alone(_measure, config, teacher, count) for count in counts}


def _measure(config: Config, teacher: Found, count: int) -> float:
    hardware = choose_hardware(config.train)
    configure(hardware)
    if hardware.device.type == "cpu":  # one process instead of one for each core
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, fuse="loop"))
    Datasets().load(config, hardware)  # decoding takes more than training does
    machine.reset_peak(hardware.device)
    train_population(
        PopulationSpec(config=config, teacher=teacher), grid_members(config, count), Clock()
    )
    return machine.memory_gib(hardware.device)


def alone(function: Callable[..., Any], *given: Any) -> Any:
    """What a function gives in a fresh process, whose peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, given)


def mib_per_member(peaks: dict[str, float]) -> float:
    """The slope between the smallest and the largest population, in MiB."""
    few, many = min(map(int, peaks)), max(map(int, peaks))
    if few == many:
        return float("nan")
    return 1024 * (peaks[str(many)] - peaks[str(few)]) / (many - few)
