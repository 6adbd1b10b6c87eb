"""The charts of verdicts: the race round by round, and every cell with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from kdsweep.report.chart import Axis, Chart, Point, Series
from kdsweep.report.words import verdict_text
from kdsweep.results.data import Cell, Look, Sweep

_FEW = 12  # cells whose earlier rounds a forest has room for
WORDS = ("better", "equivalent", "worse", "open", "distilled")  # the order of legends
_LEGEND = {"open": "not decided", "distilled": ""}


def role_of(cell: Cell) -> str:
    """The verdict's word, or that there is none."""
    return cell.verdict.word if cell.verdict is not None else "distilled"


def by_role(roles: Sequence[str], points: Sequence[Point]) -> list[Series]:
    """Markers, a series for each role, in the legend's order."""
    found = []
    for role in (*("teacher", "baseline"), *WORDS):
        chosen = tuple(p for r, p in zip(roles, points, strict=True) if r == role)
        if chosen:
            found.append(Series(role=role, points=chosen, name=_LEGEND.get(role, role)))
    return found


def race(sweep: Sweep) -> Chart | None:
    """The difference of every cell after each round that it was in."""
    if len(sweep.rounds) < 2:
        return None
    ways, roles = [], []
    for cell in sweep.cells:
        looks = () if cell.verdict is None else cell.verdict.looks
        if looks:
            roles.append(looks[-1].word)
            ways.append([_seen(sweep, cell, at, look) for at, look in enumerate(looks, 1)])
    ends = _side_by_side([way[-1] for way in ways])
    lines = [
        Series(
            role=role, mark="line", faint=True,
            points=tuple(replace(p, low=math.nan, high=math.nan) for p in (*way[:-1], end)),
        )
        for role, way, end in zip(roles, ways, ends, strict=True)
        if len(way) > 1
    ]  # fmt: skip
    if not ends:
        return None
    decided = sum(role != "open" for role in roles)
    going = sum(cell.verdict is not None and cell.verdict.racing for cell in sweep.cells)
    return Chart(
        key="race",
        title="The race, round by round",
        caption=(
            "Each cell's difference from the baseline after each round, up to the one in which "
            f"it was decided or left, with its interval there: {decided} of {len(roles)} are "
            "decided" + (f", {going} go on." if going else ".")
        ),
        x=Axis(title="round", whole=True),
        y=Axis(title=f"difference, {sweep.difference_unit}"),
        series=(*lines, *by_role(roles, ends)),
        line=0.0,
        zone=(-sweep.equivalence, sweep.equivalence),
    )


def _seen(sweep: Sweep, cell: Cell, round_: int, look: Look) -> Point:
    note = f"round {round_}: {verdict_text(sweep, look)}, n = {look.n}"
    return Point(
        x=round_, y=look.difference, low=look.low, high=look.high, name=cell.label, note=note
    )


def _side_by_side(points: Sequence[Point]) -> list[Point]:
    """Points of one round next to one another, in the order of their differences."""
    placed = list(points)
    for x in {p.x for p in points}:
        there = sorted((i for i, p in enumerate(points) if p.x == x), key=lambda i: points[i].y)
        for place, i in enumerate(there):
            shift = 0.0 if len(there) == 1 else 0.3 * (2 * place / (len(there) - 1) - 1)
            placed[i] = replace(points[i], x=x + shift)
    return placed


def forest(sweep: Sweep) -> Chart | None:
    """Each cell's difference with its simultaneous interval, and the band of no difference."""
    judged = [cell for cell in sweep.cells if cell.verdict is not None]
    if not judged:
        return None
    points = [
        Point(
            x=v.difference, y=i, low=v.low, high=v.high, name=cell.label,
            note=verdict_text(sweep, v),
        )
        for i, cell in enumerate(judged)
        if (v := cell.verdict) is not None
    ]  # fmt: skip
    without = len(sweep.cells) - len(judged)
    before = _earlier(sweep, judged) if len(judged) <= _FEW else ()
    return Chart(
        key="forest",
        title="Every cell with its interval",
        caption=(
            "Each cell's difference from the student alone with its simultaneous 95 % interval. "
            f"The band is ± {sweep.equivalence:g} {sweep.difference_unit}, within which a "
            "difference does not matter."
            + (" Faint, above it: after earlier rounds." if before else "")
            + (f" {without} of {len(sweep.cells)} cells have no interval." if without else "")
        ),
        x=Axis(title=f"difference from the baseline, {sweep.difference_unit}"),
        y=Axis(title=""),
        series=(
            *by_role([role_of(cell) for cell in judged], points),
            *(
                [Series(role="open", points=before, name="an earlier round", faint=True)]
                if before
                else []
            ),
        ),
        rows=tuple(cell.label for cell in judged),
        line=0.0,
        zone=(-sweep.equivalence, sweep.equivalence),
    )


def _earlier(sweep: Sweep, judged: Sequence[Cell]) -> tuple[Point, ...]:
    """What the rounds before its last one found of each cell, above its row's middle."""
    points = []
    for i, cell in enumerate(judged):
        looks = () if cell.verdict is None else cell.verdict.looks[:-1]
        for round_, look in enumerate(looks, 1):
            y = i - 0.33 * (1 - (round_ - 1) / len(looks))
            seen = _seen(sweep, cell, round_, look)
            points.append(replace(seen, x=look.difference, y=y))
    return tuple(points)
