"""The charts of what networks cost: parameters, size, time, and accuracy against size."""

from __future__ import annotations

import math
from collections.abc import Callable

from kdsweep.report.chart import Axis, Chart, Point, Series
from kdsweep.report.words import spread_text
from kdsweep.results.data import Cell, Model, Sweep, rows

_FEW = 6  # sizes up to which each one is named


def parameters(sweep: Sweep) -> Chart | None:
    """How many parameters each network has."""
    return _bars(
        sweep, "parameters", "Parameters", "parameters", ",.0f", lambda row: row.parameters
    )


def size(sweep: Sweep) -> Chart | None:
    """How large each network's parameters and buffers are."""
    return _bars(
        sweep, "size", "Size", "parameters and buffers, MiB", ",.2f", lambda row: row.size_mib
    )


def latency(sweep: Sweep) -> Chart | None:
    """How long each network that was timed takes for a batch."""
    conditions = f", {sweep.latency_conditions}" if sweep.latency_conditions else ""
    axis = f"ms a batch{conditions}"
    return _bars(sweep, "latency", "Inference time", axis, ",.2f", lambda row: row.latency_ms)


def _bars(
    sweep: Sweep,
    key: str,
    title: str,
    axis: str,
    form: str,
    cost: Callable[[Model | Cell], float | None],
) -> Chart | None:
    """Teacher, baseline, and the cells whose network is not the baseline's."""
    networks: list[tuple[str, Model | Cell]] = [
        (role, model)
        for role, model in (("teacher", sweep.teacher), ("baseline", sweep.baseline))
        if model is not None
    ]
    networks += [("distilled", cell) for cell in sweep.cells]
    found = [(role, row, value) for role, row in networks if (value := cost(row)) is not None]
    if not found:
        return None
    teachers = next((value for role, _, value in found if role == "teacher"), None)
    series = []
    for i, (role, row, value) in enumerate(found):
        text = format(value, form)
        if teachers and role != "teacher":
            text += f" ({100 * value / teachers:.1f} %)"
        point = Point(x=value, y=i, name=row.label, note=f"{format(value, form)} {axis}")
        series.append(Series(role=role, points=(point,), mark="bar", texts=(text,)))
    labels = [
        f"{role} {row.label}" if role != "distilled" else row.label for role, row, _ in found
    ]
    first = key == "parameters"  # what holds for all of these charts is said once
    shares = " In brackets: of the teacher's." * bool(first and teachers and len(found) > 1)
    same = " All cells have the baseline's network." * (first and found[-1][0] == "baseline")
    return Chart(
        key=key, title=title, caption=f"{axis[0].upper()}{axis[1:]}.{shares}{same}",
        x=Axis(title=axis), y=Axis(title=""), series=tuple(series), rows=tuple(labels),
    )  # fmt: skip


def accuracy_against_size(sweep: Sweep) -> Chart | None:
    """The objective against the size, which has a logarithmic axis."""
    models = [model for model in (sweep.teacher, sweep.baseline) if model is not None]
    student = sweep.baseline.size_mib if sweep.baseline is not None else None
    sizes: list[float | None] = [model.size_mib for model in models]
    sizes += [student if cell.size_mib is None else cell.size_mib for cell in sweep.cells]
    few = sum(cell.size_mib is not None for cell in sweep.cells) <= _FEW
    named, others = [], []
    for row, mib in zip(rows(sweep), sizes, strict=True):
        s = row.summary
        if mib is None or not s.n:
            continue
        alone = len(sweep.cells) == 1
        stands_out = row.role != "distilled" or alone or (few and mib != student)
        sd = s.sd if stands_out else math.nan
        point = Point(
            x=mib, y=s.mean, low=s.mean - sd, high=s.mean + sd, name=row.label,
            note=f"{mib:.3g} MiB, {spread_text(sweep, s.mean, s.sd)}, n = {s.count}",
        )  # fmt: skip
        if stands_out:
            shown = row.label if row.role == "distilled" else f"{row.role}: {row.label}"
            named.append(Series(role=row.role, points=(point,), name=shown))
        else:
            others.append(point)
    if not named:
        return None
    rest = Series(role="distilled", points=tuple(others), name="other cells", faint=True)
    return Chart(
        key="accuracy_against_size",
        title="Accuracy against size" if "accuracy" in sweep.objective else
        f"{sweep.objective} against size",
        caption="Mean ± standard deviation between seeds, against the size of the network.",
        x=Axis(title="parameters and buffers, MiB", log=True),
        y=Axis(title=f"{sweep.objective}, {sweep.unit}"),
        series=(*([rest] if others else []), *named),
    )  # fmt: skip
