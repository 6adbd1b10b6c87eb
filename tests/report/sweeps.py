"""Small sweeps whose every number is known by hand."""

from __future__ import annotations

import math
from dataclasses import replace

from kdsweep.results.data import Cell, CellVerdict, Model, Sweep


def curve(*values: float) -> list[dict[str, float]]:
    return [{"epoch": i + 1, "val_accuracy": value} for i, value in enumerate(values)]


def temperatures() -> Sweep:
    """Two complete cells, one that failed after a seed, one that was pruned before any."""
    cells = (
        Cell(
            label="T=1",
            values={"distill.temperature": 1},
            accuracy_by_seed={0: 71.0, 1: 73.0},
            seconds=61.0,
            curve={0: curve(50.0, 71.0), 1: curve(54.0, 73.0)},
        ),
        Cell(
            label="T=2",
            values={"distill.temperature": 2},
            accuracy_by_seed={0: 72.5, 1: 73.5},
            seconds=62.0,
            curve={0: curve(51.0, 72.5), 1: curve(53.0, 73.5)},
        ),
        Cell(
            label="T=3",
            values={"distill.temperature": 3},
            accuracy_by_seed={0: 74.25, 1: math.nan},
            state="failed",
            reason="seed 1: the loss is not finite in epoch 2",
            curve={0: curve(55.0, 74.25), 1: curve(10.0)},
        ),
        Cell(
            label="T=4",
            values={"distill.temperature": 4},
            accuracy_by_seed={},
            state="pruned",
            reason="below the median after epoch 1",
        ),
    )
    return Sweep(
        study="temperature",
        dataset="digits",
        split="validation",
        cells=cells,
        baseline=Model(
            label="baseline student",
            accuracy_by_seed={0: 71.0, 1: 72.0, 2: 73.0},
            parameters=106_826,
            size_mib=0.41,
            latency_ms=27.76,
            efficiency=6.39,
            curve={seed: curve(52.0, 71.0 + seed) for seed in range(3)},
        ),
        teacher=Model(
            label="teacher",
            accuracy_by_seed={0: 83.13},
            parameters=4_664_970,
            size_mib=17.81,
            latency_ms=111.29,
            curve={0: curve(60.0, 83.13)},
        ),
        verdict_lines=("Nothing is told apart with n = 2.",),
        latency_conditions="batch of 128, 1 thread",
    )


def judged() -> Sweep:
    """The same with verdicts on the complete cells."""
    sweep = temperatures()
    first, second, *rest = sweep.cells
    negative = CellVerdict(word="worse", difference=-0.5, low=-0.875, high=-0.125, p_better=0.01)
    positive = CellVerdict(word="better", difference=1.0, low=0.5, high=1.75, p_better=0.99)
    cells = (replace(first, verdict=negative), replace(second, verdict=positive), *rest)
    return replace(sweep, cells=cells)


def grid_sweep() -> Sweep:
    """Temperature by alpha, 3 x 2, one missing; the baseline is 70, a cell 70 + T/4 - alpha."""
    cells = tuple(
        Cell(
            label=f"T={t} alpha={a}",
            values={"distill.temperature": t, "distill.alpha": a, "seeds": 2},
            accuracy_by_seed={0: 70.0 + t / 4 - a, 1: 70.0 + t / 4 - a},
        )
        for t in (4, 1, 2)
        for a in (0.5, 0.25)
        if (t, a) != (1, 0.25)
    )
    return replace(
        temperatures(),
        cells=cells,
        baseline=Model(label="baseline", accuracy_by_seed={0: 70.0}, parameters=100, size_mib=0.5),
    )
