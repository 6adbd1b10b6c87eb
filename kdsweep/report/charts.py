"""From a sweep to the charts of its report; None where the sweep lacks the data of one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from kdsweep.report.chart import Axis, Chart, Point, Series
from kdsweep.report.costs import accuracy_against_size, latency, parameters, size
from kdsweep.report.judged import by_role, forest, race, role_of
from kdsweep.report.words import interval_text, number, spread_text
from kdsweep.results.data import (
    Cell,
    Model,
    Row,
    Summary,
    Sweep,
    best_cell,
    difference,
    rows,
    summarise,
    worst_cell,
)
from kdsweep.results.record import COMPLETE

_ENOUGH = 20  # answers, below which a share of them is noise


def charts(sweep: Sweep) -> tuple[Chart, ...]:
    """Every chart that this sweep has the data for, in the order of the report."""
    makers: tuple[Callable[[Sweep], Chart | None], ...] = (
        race, forest, curves, accuracy, parameters, size, latency, accuracy_against_size,
        fidelity, calibration, reliability,
    )  # fmt: skip
    return tuple(chart for make in makers if (chart := make(sweep)) is not None)


def curves(sweep: Sweep) -> Chart | None:
    """The objective over the epochs: teacher, baseline, best and worst with bands; the others."""
    best, worst = best_cell(sweep), worst_cell(sweep)
    several = len(sweep.cells) > 1
    lines: list[Series] = []
    others = [c for c in sweep.cells if not several or (c is not best and c is not worst)]
    for cell in others:
        name = cell.label if not several else ""
        lines += _curve(sweep, "distilled", cell, name, faint=several)
    if several and best is not None and worst is not best and worst is not None:
        lines += _curve(sweep, "worst", worst, f"worst: {worst.label}")
    if several and best is not None:
        lines += _curve(sweep, "best", best, f"best: {best.label}")
    if sweep.baseline is not None:
        lines += _curve(sweep, "baseline", sweep.baseline, "baseline, the student alone")
    if sweep.teacher is not None:
        lines += _curve(sweep, "teacher", sweep.teacher, "teacher")
    if not lines:
        return None
    rest = "; thin: the other cells" if several and len(sweep.cells) > 2 else ""
    return Chart(
        key="learning_curves",
        title="Learning curves",
        caption=f"Means over seeds; bands are ± one standard deviation between seeds{rest}.",
        x=Axis(title="epoch", whole=True),
        y=Axis(title=f"{sweep.objective}, {sweep.unit}"),
        series=tuple(lines),
    )


def _curve(
    sweep: Sweep, role: str, row: Model | Cell, name: str, *, faint: bool = False
) -> list[Series]:
    """The mean over seeds that ended with a number, at the epochs that all of them saw."""
    key = sweep.objective
    ended = {s for s, value in row.accuracy_by_seed.items() if math.isfinite(value)}
    seeds = [c for s, c in row.curve.items() if s in ended] or list(row.curve.values())
    seen = [{e.get("epoch", i + 1): e[key] for i, e in enumerate(c) if key in e} for c in seeds]
    epochs = sorted(set.intersection(*(set(s) for s in seen))) if seen else []
    points = []
    for epoch in epochs:
        values = [s[epoch] for s in seen]
        mean = statistics.fmean(values)
        sd = statistics.stdev(values) if len(values) > 1 and not faint else math.nan
        points.append(
            Point(
                x=epoch, y=mean, low=mean - sd, high=mean + sd, name=row.label,
                note=f"epoch {epoch:g}: {spread_text(sweep, mean, sd)}, n = {len(values)}",
            )
        )  # fmt: skip
    if not points:
        return []
    dashed = role == "baseline"
    return [
        Series(role=role, points=tuple(points), mark="line", name=name, dashed=dashed, faint=faint)
    ]


def accuracy(sweep: Sweep) -> Chart | None:
    """The objective of teacher, baseline and every cell, with a standard deviation over seeds."""
    lines = [row for row in rows(sweep) if math.isfinite(row.summary.mean)]
    baseline = next((row for row in lines if row.role == "baseline"), None)
    return _dots(
        sweep,
        [row.summary for row in lines],
        lines,
        key="accuracy",
        title="Accuracy" if sweep.objective.endswith("accuracy") else sweep.objective,
        caption=(
            f"{sweep.objective} on {sweep.dataset}, {sweep.split} split: mean ± standard "
            "deviation between seeds. The line is the student alone."
        ),
        axis=f"{sweep.objective}, {sweep.unit}",
        line=None if baseline is None else baseline.summary.mean,
        decimals=sweep.decimals,
    )


def calibration(sweep: Sweep) -> Chart | None:
    """The expected calibration error of every network, with a standard deviation over seeds."""
    networks = [model for model in (sweep.teacher, sweep.baseline) if model is not None]
    every = [*(m.measures.ece for m in networks), *(c.measures.ece for c in sweep.cells)]
    found = [(row, s) for row, s in zip(rows(sweep), every, strict=True) if s is not None]
    alone = sweep.baseline.measures.ece if sweep.baseline is not None else None
    return _dots(
        sweep,
        [s for _, s in found],
        [row for row, _ in found],
        key="calibration",
        title="Calibration",
        caption=(
            "How far a network's confidence is from how often it is right: expected calibration "
            "error, mean ± standard deviation between seeds. Less is better; the line is the "
            "student alone."
        ),
        axis="expected calibration error, as a fraction",
        line=None if alone is None else alone.mean,
        decimals=4,
    )


def reliability(sweep: Sweep) -> Chart | None:
    """How often teacher, baseline and the best cell are right where they are so sure."""
    best = best_cell(sweep)
    several = "best: " if len(sweep.cells) > 1 else ""
    shown: list[tuple[str, str, Model | Cell | None]] = [
        ("teacher", "teacher", sweep.teacher),
        ("baseline", "baseline, the student alone", sweep.baseline),
        ("best", "" if best is None else f"{several}{best.label}", best),
    ]
    lines = []
    for role, name, row in shown:
        bins = () if row is None else row.measures.reliability
        points = tuple(
            Point(
                x=one.confidence, y=one.right, name=name,
                note=f"{one.confidence:.1f} % sure of {one.images:,} answers, "
                f"{one.right:.1f} % of which are right",
            )
            for one in bins
            if one.images >= _ENOUGH
        )  # fmt: skip
        if points:
            lines.append(Series(role=role, points=points, mark="line", name=name))
    if not lines:
        return None
    exact = tuple(Point(x=x, y=x, name="as sure as right", note=f"{x:g} %") for x in (0, 100))
    return Chart(
        key="reliability",
        title="As sure as right?",
        caption=(
            "How many answers are right among those of about the same confidence: below the "
            "diagonal a network is too sure of itself. All seeds together; confidences of fewer "
            f"than {_ENOUGH} answers are left out."
        ),
        x=Axis(title="confidence, %"),
        y=Axis(title="right, %"),
        series=(
            Series(role="open", points=exact, mark="line", dashed=True, name="as sure as right"),
            *lines,
        ),
    )


def _dots(
    sweep: Sweep,
    summaries: Sequence[Summary],
    lines: Sequence[Row],
    *,
    key: str,
    title: str,
    caption: str,
    axis: str,
    line: float | None,
    decimals: int,
) -> Chart | None:
    """A row for each network: mean and standard deviation."""
    if not lines:
        return None
    points, roles = [], []
    for i, (row, s) in enumerate(zip(lines, summaries, strict=True)):
        text = f"{number(s.mean, decimals)}{f' ± {number(s.sd, decimals)}' if s.n > 1 else ''}"
        state = "" if row.state == COMPLETE else f", {row.state}"
        points.append(
            Point(
                x=s.mean, y=i, low=s.mean - s.sd, high=s.mean + s.sd, name=row.label,
                note=f"{text}, n = {s.count}{state}",
            )
        )  # fmt: skip
        network = row.role in ("teacher", "baseline")
        roles.append(row.role if network else row.verdict.word if row.verdict else "distilled")
    names = [
        f"{r.role} {r.label}" if r.role in ("teacher", "baseline") else r.label for r in lines
    ]
    return Chart(
        key=key, title=title, caption=caption, x=Axis(title=axis), y=Axis(title=""),
        series=tuple(by_role(roles, points)), rows=tuple(names), line=line,
    )  # fmt: skip


def fidelity(sweep: Sweep) -> Chart | None:
    """What a cell gains against how often it agrees with its teacher."""
    points, roles = [], []
    for cell in sweep.cells:
        agreement, gain = cell.measures.agreement, difference(sweep, cell)
        if agreement is None or gain is None or not math.isfinite(agreement.mean):
            continue
        v = cell.verdict
        shown = interval_text(sweep, v) if v else f"n = {summarise(cell.accuracy_by_seed).n}"
        points.append(
            Point(
                x=agreement.mean, y=gain, name=cell.label,
                note=f"agrees in {agreement.mean:.2f} %, "
                f"{number(gain, sweep.decimals, signed=True)} {sweep.difference_unit}, {shown}",
            )
        )  # fmt: skip
        roles.append(role_of(cell))
    if not points:
        return None
    return Chart(
        key="fidelity",
        title="Does it help to be like the teacher?",
        caption=(
            "A point for each cell: in how many images it gives the teacher's answer, against "
            "what it gains over the student alone."
        ),
        x=Axis(title="agreement with the teacher, %"),
        y=Axis(title=f"difference, {sweep.difference_unit}"),
        series=tuple(by_role(roles, points)),
        line=0.0,
    )
