"""What each picture shows, apart from how it is drawn; ``None`` where the sweep lacks it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from kdsweep.results.data import (
    COMPLETE,
    Cell,
    CellVerdict,
    Model,
    Sweep,
    best_cell,
    rows,
)

FEW = 6  # cells up to which each one is named in a crowded picture


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: a role chooses the colour."""

    label: str
    role: str  # teacher, baseline, distilled, best
    value: float
    sd: float = math.nan
    remark: str = ""  # what keeps it from being a number like the others


@dataclass(frozen=True, kw_only=True)
class Line:
    """A mean over seeds for each epoch, with one standard deviation to each side."""

    label: str
    role: str
    epochs: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]  # NaN with one seed


@dataclass(frozen=True, kw_only=True)
class Point:
    """Accuracy against size."""

    label: str
    role: str
    size_mib: float
    accuracy: float
    sd: float
    named: bool  # stands out, or is one of a few with a size of its own


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One line of a forest plot."""

    label: str
    role: str
    verdict: CellVerdict


def accuracy_bars(sweep: Sweep) -> tuple[Bar, ...] | None:
    """The objective of teacher, baseline and every cell; NaN, with a remark, where it has none."""
    bars = tuple(
        Bar(
            label=r.label,
            role=r.role,
            value=r.summary.mean,
            sd=r.summary.sd,
            remark="" if r.state == COMPLETE else f"{r.state}, n = {r.summary.count}",
        )
        for r in rows(sweep)
    )
    return bars if any(math.isfinite(bar.value) for bar in bars) else None


def _cost_bars(
    sweep: Sweep,
    of_model: Callable[[Model], float | None],
    of_cell: Callable[[Cell], float | None],
) -> tuple[Bar, ...] | None:
    """Teacher, baseline, and the cells whose network is not the baseline's."""
    models = (("teacher", sweep.teacher), ("baseline", sweep.baseline))
    bars = [
        Bar(label=model.label, role=role, value=value)
        for role, model in models
        if model is not None and (value := of_model(model)) is not None
    ]
    best = best_cell(sweep)
    bars += [
        Bar(label=cell.label, role="best" if cell is best else "distilled", value=value)
        for cell in sweep.cells
        if (value := of_cell(cell)) is not None
    ]
    return tuple(bars) or None


def parameter_bars(sweep: Sweep) -> tuple[Bar, ...] | None:
    """Parameters of each network."""
    return _cost_bars(sweep, lambda m: m.parameters, lambda c: c.parameters)


def size_bars(sweep: Sweep) -> tuple[Bar, ...] | None:
    """MiB of parameters and buffers of each network."""
    return _cost_bars(sweep, lambda m: m.size_mib, lambda c: c.size_mib)


def latency_bars(sweep: Sweep) -> tuple[Bar, ...] | None:
    """Median ms a batch of each network that was timed."""
    return _cost_bars(sweep, lambda m: m.latency_ms, lambda c: c.latency_ms)


def _line(role: str, row: Model | Cell, key: str) -> Line | None:
    """The mean over seeds that ended with a number, at the epochs that all of them saw."""
    ended = {s for s, value in row.accuracy_by_seed.items() if math.isfinite(value)}
    curves = [c for s, c in row.curve.items() if s in ended] or list(row.curve.values())
    series = [{e.get("epoch", i + 1): e[key] for i, e in enumerate(c) if key in e} for c in curves]
    epochs = sorted(set.intersection(*(set(s) for s in series))) if series else []
    if not epochs:
        return None
    values = [[s[epoch] for s in series] for epoch in epochs]
    return Line(
        label=row.label,
        role=role,
        epochs=tuple(epochs),
        mean=tuple(statistics.fmean(v) for v in values),
        sd=tuple(statistics.stdev(v) if len(v) > 1 else math.nan for v in values),
    )


def learning_curves(sweep: Sweep, key: str) -> tuple[Line, ...] | None:
    """One metric over the epochs of teacher, baseline and cells, where it was recorded."""
    best = best_cell(sweep)
    lines: list[Line | None] = []
    for role, model in (("teacher", sweep.teacher), ("baseline", sweep.baseline)):
        if model is not None:
            lines.append(_line(role, model, key))
    lines += [_line("best" if cell is best else "distilled", cell, key) for cell in sweep.cells]
    return tuple(line for line in lines if line is not None) or None


def difference_curves(sweep: Sweep, key: str) -> tuple[Line, ...] | None:
    """Each cell's mean minus the baseline's at the same epoch; the deviation is the cell's own."""
    lines = learning_curves(sweep, key) or ()
    base = next((line for line in lines if line.role == "baseline"), None)
    if base is None:
        return None
    at = dict(zip(base.epochs, base.mean, strict=True))
    drawn = []
    for line in lines:
        both = [i for i, epoch in enumerate(line.epochs) if epoch in at]
        if line.role in ("distilled", "best") and both:
            drawn.append(
                Line(
                    label=line.label,
                    role=line.role,
                    epochs=tuple(line.epochs[i] for i in both),
                    mean=tuple(line.mean[i] - at[line.epochs[i]] for i in both),
                    sd=tuple(line.sd[i] for i in both),
                )
            )
    return tuple(drawn) or None


def accuracy_against_size(sweep: Sweep) -> tuple[Point, ...] | None:
    """A point for each model and cell with a known size."""
    sizes: list[float | None] = [
        model.size_mib for model in (sweep.teacher, sweep.baseline) if model is not None
    ]
    student = sweep.baseline.size_mib if sweep.baseline is not None else None
    sizes += [student if cell.size_mib is None else cell.size_mib for cell in sweep.cells]
    few = sum(cell.size_mib is not None for cell in sweep.cells) <= FEW
    points = tuple(
        Point(
            label=row.label,
            role=row.role,
            size_mib=size,
            accuracy=row.summary.mean,
            sd=row.summary.sd,
            named=row.role != "distilled" or (few and size != student),
        )
        for row, size in zip(rows(sweep), sizes, strict=True)
        if size is not None and row.summary.n
    )
    return points or None


def forest(sweep: Sweep) -> tuple[Interval, ...] | None:
    """The cells that have a verdict, in sweep order."""
    best = best_cell(sweep)
    lines = tuple(
        Interval(label=c.label, role="best" if c is best else "distilled", verdict=c.verdict)
        for c in sweep.cells
        if c.verdict is not None
    )
    return lines or None
