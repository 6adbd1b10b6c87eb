"""The verdicts in words, for the terminal: what a race will cost, and what it has found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from kdsweep.verdict.forecast import POWER, Forecast
from kdsweep.verdict.images import Crossed
from kdsweep.verdict.outcome import Average, Cell, Comparison, Outcome, Verdict


class Axis(NamedTuple):
    """An axis of the grid, as in "alpha" with the values "0.1", "0.3"."""

    name: str
    values: Sequence[str]


def forecast_sentence(forecast: Forecast) -> str:
    """What is trained now, at most and usually, and what will be found."""
    design = forecast.design
    n, n0, many = design.cell_seeds(1), design.baseline_seeds(1), design.baseline_count
    baselines = f"{n0} baselines" if many == 1 else f"{many} x {n0} baselines"
    cost = f"{_count(design.cells, 'cell')} x {n} seeds + {baselines} = {forecast.now} trainings"
    if design.rounds > 1:
        low, high = forecast.usual
        cost += f" now; at most {forecast.most}, usually {low}-{high}"
    if math.isinf(forecast.effect):
        return f"{cost}. Finds hardly any difference: more seeds are needed."
    tenths = f"{10.0 * POWER:g} of 10"
    if forecast.effect_points is None:
        size = f"{forecast.effect:.1f} standard deviations between seeds"
    else:
        size = f"{forecast.effect_points:+.1f} points (at sd {forecast.sd:g})"
    return f"{cost}. Finds {size} in {tenths}."


_PAIR = 2
_NAMED = 3  # cells of a round's line that are named


def round_sentence(outcome: Outcome, labels: Sequence[str], rounds: int) -> str:
    """What a round has come to: who has left it, why, and how many go on.

    Args:
        outcome: after the round.
        labels: of the cells, in order.
        rounds: of the race at most.
    """
    pairs = list(zip(labels, outcome.cells, strict=True))
    leaving = [pair for pair in pairs if pair[1].round == outcome.round and not pair[1].racing]
    decided = [(label, c) for label, c in leaving if c.verdict is not Verdict.OPEN]
    dropped = [label for label, c in leaving if c.verdict is Verdict.OPEN]
    going = 0 if outcome.round >= rounds else len(outcome.pending)
    over = outcome.round >= rounds or not outcome.pending
    if outcome.round >= rounds:
        dropped += [label for label, c in pairs if c.racing]
    parts = []
    if decided:
        parts.append(_named("decided", [f"{label} {c.verdict}" for label, c in decided]))
    if dropped:
        parts.append(_named("left open" if over else "dropped undecided", dropped))
    goes = f"{_count(going, 'cell')} go{'es' if going == 1 else ''} on"
    parts.append("the race is over" if over else goes)
    return f"round {outcome.round} of {rounds}: {', '.join(parts)}"


def _named(what: str, names: Sequence[str]) -> str:
    """``2 decided (T=1 better, T=4 worse)``, where they are few enough to name."""
    shown = f" ({', '.join(names)})" if len(names) <= _NAMED else ""
    return f"{len(names)} {what}{shown}"


def outcome_lines(
    outcome: Outcome,
    labels: Sequence[str],
    *,
    axes: Sequence[Axis] = (),
    images: int | None = None,
    split: str = "validation",
    teachers: int = 1,
) -> list[str]:
    """The answer, the averages, the cells, what is still open, and what it holds for.

    Args:
        outcome: of a race, or of a confirmation.
        labels: of the cells, in order.
        axes: of the grid, in the order of ``RaceDesign.axes``; needed where there are averages.
        images: how many the accuracies were read on.
        split: of which split they are.
        teachers: how many teachers' seeds the cells were trained with.
    """
    if outcome.round == 0:
        return [answer_sentence(outcome)]
    averages = [
        average_sentence(average, axes, outcome.design.cells)
        for average in outcome.averages
        if average.verdict is not Verdict.OPEN or average.part.axis is None
    ]
    pairs = list(zip(labels, outcome.cells, strict=True))
    decided = [cell_sentence(*pair) for pair in pairs if pair[1].verdict is not Verdict.OPEN]
    still = [cell_sentence(*pair) for pair in pairs if pair[1].verdict is Verdict.OPEN]
    scope = scope_sentence(outcome, images=images, split=split, teachers=teachers)
    return [
        answer_sentence(outcome), *averages, *decided, *still, _counts(outcome), scope,
    ]  # fmt: skip


def answer_sentence(outcome: Outcome) -> str:
    """Whether distillation helps, in one sentence."""
    if outcome.round == 0:
        return "No verdict yet: round 1 is not complete."
    cells = len(outcome.cells)
    better, worse = outcome.count(Verdict.BETTER), outcome.count(Verdict.WORSE)
    if better and worse:
        return f"Distillation helps in {better} and harms in {worse} of {cells} cells."
    if not better and not worse:
        return _no_cell(outcome)
    does, other = ("helps", "worse") if better else ("harms", "better")
    if cells == 1:
        return f"Distillation {does}."
    if better + worse == cells:
        return f"Distillation {does} in {all_cells(cells)}."
    return (
        f"Distillation {does} in {better or worse} of {cells} cells; "
        f"none is shown to be {other} than the student alone."
    )


def _no_cell(outcome: Outcome) -> str:
    """The answer where no cell differs."""
    cells = outcome.cells
    told = [a for a in outcome.averages if a.verdict in {Verdict.BETTER, Verdict.WORSE}]
    if told:
        verbs = {Verdict.BETTER: "helps", Verdict.WORSE: "harms"}
        does = " and ".join(dict.fromkeys(verbs[average.verdict] for average in told))
        where = (
            all_cells(outcome.design.cells)
            if told[-1].part.axis is None
            else "some rows or columns"
        )
        return f"Distillation {does} on average over {where}; no single cell shows it."
    if outcome.count(Verdict.EQUIVALENT) == len(cells):
        any_of = "either cell" if len(cells) == _PAIR else f"any of {len(cells)} cells"
        where = "" if len(cells) == 1 else f" in {any_of}"
        margin = outcome.design.margin
        return f"Distillation makes no difference of more than {margin:g} points{where}."
    return f"No difference is shown: {_excluded(cells)}."


def average_sentence(average: Average, axes: Sequence[Axis], cells: int) -> str:
    """One average's verdict, named by its axis, as in "alpha 0.9, mean over T 1 to 5"."""
    slice_ = average.part
    label = average_label(average, axes, cells)
    judged = f"{_said(average)} (round 1 alone, n = {average.n})"
    if slice_.axis is None:
        return f"{label}: {judged}"
    over = ", ".join(
        f"{axis.name} {axis.values[0]} to {axis.values[-1]}"
        for i, axis in enumerate(axes)
        if i != slice_.axis and len(axis.values) > 1
    )
    return f"{label}, mean over {over}: {judged}"


def average_label(average: Average, axes: Sequence[Axis], cells: int) -> str:
    """What an average is called, as in "alpha 0.9" or "all 25 cells"."""
    slice_ = average.part
    if slice_.axis is None:
        return all_cells(cells)
    axis = axes[slice_.axis]
    return f"{axis.name} {axis.values[slice_.at]}"


def all_cells(cells: int) -> str:
    """``both cells``, or ``all 25 cells``."""
    return "both cells" if cells == _PAIR else f"all {cells} cells"


def cell_sentence(label: str, cell: Cell) -> str:
    """One cell's verdict, and of an open one what is ruled out."""
    notes = [f"round {cell.round}, n = {cell.n}"]
    if cell.failed:
        notes.append(f"{_count(cell.failed, 'seed')} failed")
    if cell.racing:
        notes.append("goes on")
    return f"{label}: {_said(cell)} ({'; '.join(notes)})"


def scope_sentence(
    outcome: Outcome, *, images: int | None = None, split: str = "validation", teachers: int = 1
) -> str:
    """What the verdicts hold for, and together with how many others."""
    what = f"On these {split} images" if images is None else f"On these {images:,} {split} images"
    teacher = {1: ", this teacher"}.get(teachers, f", these {teachers} teachers")
    design = outcome.design
    family = [_count(design.cells, "cell")]
    if outcome.averages:
        family.append(_count(len(outcome.averages), "average"))
    if design.rounds > 1:
        family.append(_count(design.rounds, "look"))
    over = "" if family == ["1 cell"] else f" Simultaneous over {', '.join(family)}."
    return f"{what}{teacher}. Intervals of {100.0 * design.level:g} %.{over}"


def images_sentence(label: str, crossed: Crossed) -> str:
    """A difference with the interval that other images are in as well as other seeds."""
    return (
        f"{label}: {crossed.difference:+.2f} [{crossed.low:+.2f}, {crossed.high:+.2f}] "
        "for other seeds and other images alike (crossed bootstrap, this comparison alone)"
    )


def _said(comparison: Comparison) -> str:
    """Verdict, difference and interval; of something open, between what it is."""
    if comparison.low is None or comparison.high is None or comparison.difference is None:
        known = "" if comparison.difference is None else f", {comparison.difference:+.2f}"
        return f"open{known}, no interval: {comparison.reason}"
    if comparison.verdict is Verdict.OPEN:
        bounds = f"between {comparison.low:+.1f} and {comparison.high:+.1f}"
        return f"open, {comparison.difference:+.2f}, {bounds}"
    interval = f"[{comparison.low:+.2f}, {comparison.high:+.2f}]"
    return f"{comparison.verdict}, {comparison.difference:+.2f} {interval}"


def _counts(outcome: Outcome) -> str:
    counts = ", ".join(f"{outcome.count(verdict)} {verdict}" for verdict in Verdict)
    still = [cell for cell in outcome.cells if cell.verdict is Verdict.OPEN]
    excluded = f"; of the open ones {_excluded(still)}" if still else ""
    most = outcome.design.trainings(outcome.design.rounds)
    waiting = len(outcome.pending)
    going = f" {waiting} cells go on." if waiting > 1 else " 1 cell goes on." * waiting
    return f"{counts}{excluded}. {outcome.trainings} trainings of at most {most}.{going}"


def _excluded(cells: Sequence[Cell]) -> str:
    """What the intervals of cells rule out for all of them."""
    lows = [cell.low for cell in cells if cell.low is not None]
    highs = [cell.high for cell in cells if cell.high is not None]
    if not highs:
        return "none has an interval"
    rest = len(cells) - len(highs)
    apart = f", {rest} without an interval apart" if rest else ""
    up, down = max(highs), max(0.0, -min(lows))
    bounds = f"better by more than {up:.1f} or worse by more than {down:.1f} points"
    return f"{'it is not' if len(cells) == 1 else 'none is'} {bounds}{apart}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
