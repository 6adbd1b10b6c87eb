"""A finished sweep as plain data: all that a table, a picture or a page shows.

Nothing here trains, reads a store or draws. Numbers are whole; only what shows them rounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

COMPLETE = "complete"

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

    @property
    def difference_unit(self) -> str:
        """Percentages differ by points."""
        return "points" if self.unit == "%" else self.unit

    @property
    def decimals(self) -> int:
        """How many decimals a reader is shown."""
        return 2 if self.unit in ("%", "ms") else 4


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
    sign = 1 if sweep.maximize else -1
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


def costs(sweep: Sweep) -> list[tuple[str, list[str]]]:
    """What each network costs, in words, for the teacher, the baseline and cells of their own."""
    timed = f" a batch ({sweep.latency_conditions})" if sweep.latency_conditions else " a batch"
    lines = []
    networks: list[tuple[str, Model | Cell]] = []
    for role, model in (("teacher", sweep.teacher), ("baseline", sweep.baseline)):
        if model is not None:
            networks.append((f"{role} {model.label}", model))
    networks += [(cell.label, cell) for cell in sweep.cells]
    for label, row in networks:
        efficiency = row.efficiency if isinstance(row, Model) else None
        flops = row.flops if isinstance(row, Model) else None
        facts = [
            "" if row.parameters is None else f"{row.parameters:,} parameters",
            "" if row.size_mib is None else f"{row.size_mib:.2f} MiB",
            "" if flops is None else f"{flops / 1e6:.1f} MFLOP an image",
            "" if row.latency_ms is None else f"{row.latency_ms:.2f} ms{timed}",
            "" if efficiency is None else f"efficiency {efficiency:.3g}",
        ]
        if isinstance(row, Model) and row is sweep.baseline and sweep.teacher is not None:
            ratio = sweep.teacher.parameters / row.parameters
            facts.append(
                f"{ratio:.1f} times fewer parameters than the teacher"
                if ratio > 1
                else f"{1 / ratio:.1f} times the teacher's parameters"
            )
        lines.append((label, [fact for fact in facts if fact]))
    return [(label, facts) for label, facts in lines if facts]


def notes(sweep: Sweep) -> list[str]:
    """What a reader must know to read the numbers rightly, a sentence each."""
    lines = []
    if best_cell(sweep) is not None and len(sweep.cells) > 1:
        lines.append(
            f"* the best mean of {len(sweep.cells)} cells. The best of many is partly luck: "
            "confirm it on fresh seeds."
        )
    if sweep.split == "test":
        lines.append("Read on test: a number to report, never one to choose a cell by.")
    if sweep.teacher is not None and len(sweep.teacher.accuracy_by_seed) == 1:
        lines.append("One teacher was used: every difference is conditional on it.")
    if len(sweep.teachers) > 1:
        each = ", ".join(
            f"{model.label} {summarise(model.accuracy_by_seed).mean:.{sweep.decimals}f}"
            for model in sweep.teachers
        )
        lines.append(
            f"{len(sweep.teachers)} teachers taught different cells ({each} {sweep.unit}): a "
            "difference between cells may be theirs."
        )
    if _estimated_otherwise(sweep):
        lines.append(
            "A difference is from the baseline's seeds at the end of the cell's last round, so it "
            "need not equal the difference of the means."
        )
    return lines


def _estimated_otherwise(sweep: Sweep) -> bool:
    if sweep.baseline is None:
        return False
    base = summarise(sweep.baseline.accuracy_by_seed).mean
    visible = 0.5 * 10.0**-sweep.decimals
    return any(
        abs(summarise(c.accuracy_by_seed).mean - base - c.verdict.difference) > visible
        for c in sweep.cells
        if c.verdict is not None
    )


def protocol(sweep: Sweep) -> list[tuple[str, str]]:
    """What was measured, on what and how often, as (name, value) pairs."""
    seeds = sorted({seed for cell in sweep.cells for seed in cell.accuracy_by_seed})
    states: dict[str, int] = {}
    for cell in sweep.cells:
        states[cell.state] = states.get(cell.state, 0) + 1
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    lines = [
        ("dataset", sweep.dataset),
        ("objective", f"{sweep.objective} in {sweep.unit}, on the {sweep.split} split"),
        ("cells", f"{len(sweep.cells)} ({counts})" if counts else "0"),
        ("seeds", _ranges(seeds) if seeds else "none"),
    ]
    for name, model in (("baseline", sweep.baseline), ("teacher", sweep.teacher)):
        if model is not None:
            summary = summarise(model.accuracy_by_seed)
            lines.append(
                (f"{name} seeds", f"{summary.count} ({_ranges(sorted(model.accuracy_by_seed))})")
            )
    return lines


def _ranges(numbers: Sequence[int]) -> str:
    """``0-4, 7``: runs of whole numbers in rising order, shortened."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
