"""A finished sweep as plain data: all that a table, a picture or a page shows.

Nothing here trains, reads a store or draws. Numbers are whole; only what shows them rounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdsweep.results.record import COMPLETE, Bin

Curves = Mapping[int, Sequence[Mapping[str, float]]]  # seed -> the metrics of each epoch


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one round of a race found of a cell, in the objective's unit."""

    word: str  # better, worse, equivalent, open
    n: int  # seeds so far
    difference: float
    low: float  # repeated confidence interval
    high: float


@dataclass(frozen=True, kw_only=True)
class CellVerdict:
    """What the statistics say of one cell against the baseline, in the objective's unit."""

    word: str  # better, worse, equivalent, open
    difference: float
    low: float  # simultaneous confidence interval over all cells and rounds
    high: float
    p_better: float | None = None  # 0 to 1
    looks: tuple[Look, ...] = ()  # one for each round that the cell was in
    racing: bool = False  # goes on
    more_seeds: int | None = None  # that would decide a difference of this size, if open


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean and sample standard deviation over the seeds that gave a number; NaN without them."""

    mean: float
    sd: float
    n: int
    of: int  # seeds that were asked for

    @property
    def count(self) -> str:
        """``5``, or ``4/5`` where one seed of five gave no number."""
        return str(self.n) if self.n == self.of else f"{self.n}/{self.of}"


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What else was measured of a network; None where it was not."""

    nll: Summary | None = None  # nats
    ece: Summary | None = None  # as a fraction
    agreement: Summary | None = None  # with the teacher, percent
    fidelity_kl: Summary | None = None  # of the teacher's outputs, nats
    reliability: tuple[Bin, ...] = ()  # over all seeds together


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the sweep; its costs are the baseline's unless it has its own."""

    label: str
    values: Mapping[str, object]  # the swept overrides
    accuracy_by_seed: Mapping[int, float]  # the objective; NaN where a seed failed
    state: str = COMPLETE  # or failed, pruned ...
    reason: str | None = None  # why it is not complete
    seconds: float | None = None
    curve: Curves = field(default_factory=dict)
    verdict: CellVerdict | None = None
    parameters: int | None = None
    size_mib: float | None = None
    latency_ms: float | None = None
    measures: Measures = Measures()


@dataclass(frozen=True, kw_only=True)
class Model:
    """The teacher, or the baseline student."""

    label: str
    accuracy_by_seed: Mapping[int, float]
    parameters: int
    size_mib: float
    flops: float | None = None  # of one image's forward pass; a multiply-add is two
    latency_ms: float | None = None  # median of a batch
    efficiency: float | None = None  # accuracy / (size_mib * latency_ms)
    curve: Curves = field(default_factory=dict)
    measures: Measures = Measures()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What was run, and how to run it again."""

    command: str  # that trains all of it
    best: str  # that trains the best cell; empty where there is none
    settings: tuple[tuple[str, str], ...]  # the best cell's, or the first one's
    facts: tuple[tuple[str, str], ...]  # name and value


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A study's cells in the order in which they were swept, and what they are held against."""

    study: str
    dataset: str
    split: str  # validation or test: which images the objective was read on
    cells: tuple[Cell, ...]
    objective: str = "val_accuracy"
    unit: str = "%"
    maximize: bool = True
    baseline: Model | None = None
    teacher: Model | None = None  # where all cells that were taught have the same one
    teachers: tuple[Model, ...] = ()  # all different ones
    verdict_lines: tuple[str, ...] = ()
    averages: Mapping[str, CellVerdict] = field(default_factory=dict)  # rows, columns, all cells
    rounds: tuple[int, ...] = ()  # seeds of a cell by the end of each round of the race
    equivalence: float = 0.5  # half width of the band that counts as no difference
    latency_conditions: str = ""  # batch size, device, threads
    provenance: Provenance | None = None
    caveat: str = ""  # why the numbers say little

    @property
    def difference_unit(self) -> str:
        """Percentages differ by points."""
        return "points" if self.unit == "%" else self.unit

    @property
    def decimals(self) -> int:
        """How many decimals a reader is shown."""
        return 2 if self.unit in ("%", "ms") else 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    role: str  # teacher, baseline, distilled; best is the best of the distilled
    label: str
    summary: Summary
    difference: float | None  # from the baseline
    verdict: CellVerdict | None = None
    state: str = COMPLETE
    reason: str | None = None
    seconds: float | None = None


def summarise(by_seed: Mapping[int, float]) -> Summary:
    """Mean, standard deviation (n - 1) and counts of one row's numbers."""
    numbers = [value for value in by_seed.values() if math.isfinite(value)]
    return Summary(
        mean=statistics.fmean(numbers) if numbers else math.nan,
        sd=statistics.stdev(numbers) if len(numbers) > 1 else math.nan,
        n=len(numbers),
        of=len(by_seed),
    )


def difference(sweep: Sweep, row: Cell | Model) -> float | None:
    """Mean minus the baseline's mean, or the verdict's own estimate where there is a verdict."""
    if isinstance(row, Cell) and row.verdict is not None:
        return row.verdict.difference
    if sweep.baseline is None:
        return None
    value = summarise(row.accuracy_by_seed).mean - summarise(sweep.baseline.accuracy_by_seed).mean
    return value if math.isfinite(value) else None


def best_cell(sweep: Sweep) -> Cell | None:
    """The complete cell with the best mean; of equals the first."""
    return _extreme(sweep, 1 if sweep.maximize else -1)


def worst_cell(sweep: Sweep) -> Cell | None:
    """The complete cell with the worst mean; of equals the first."""
    return _extreme(sweep, -1 if sweep.maximize else 1)


def _extreme(sweep: Sweep, sign: int) -> Cell | None:
    complete = [
        (sign * summary.mean, cell)
        for cell in sweep.cells
        if cell.state == COMPLETE and (summary := summarise(cell.accuracy_by_seed)).n
    ]
    return max(complete, key=lambda pair: pair[0])[1] if complete else None


def rows(sweep: Sweep) -> list[Row]:
    """Teacher, baseline, then the cells in sweep order."""
    best = best_cell(sweep) if len(sweep.cells) > 1 else None
    lines = []
    if sweep.teacher is not None:
        lines.append(
            Row(
                role="teacher",
                label=sweep.teacher.label,
                summary=summarise(sweep.teacher.accuracy_by_seed),
                difference=difference(sweep, sweep.teacher),
            )
        )
    if sweep.baseline is not None:
        lines.append(
            Row(
                role="baseline",
                label=sweep.baseline.label,
                summary=summarise(sweep.baseline.accuracy_by_seed),
                difference=None,
            )
        )
    lines += [
        Row(
            role="best" if cell is best else "distilled",
            label=cell.label,
            summary=summarise(cell.accuracy_by_seed),
            difference=difference(sweep, cell),
            verdict=cell.verdict,
            state=cell.state,
            reason=cell.reason,
            seconds=cell.seconds,
        )
        for cell in sweep.cells
    ]
    return lines
