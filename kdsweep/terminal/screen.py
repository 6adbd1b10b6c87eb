"""The lines of the live display, for any width: what does not fit gives way, nothing is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdsweep.terminal.durations import duration

WIDEST = 30  # columns of the bar
NARROWEST = 8
SHOWN = 3  # trainings that have lines of their own


@dataclass(frozen=True, kw_only=True)
class Best:
    """The cell that leads so far."""

    label: str
    value: str  # such as "+1.64"
    interval: str  # such as "[+0.70, +2.58]", or why there is none
    verdict: str = ""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a sweep stands between two trainings.

    Attributes:
        study: its name.
        cells: of the sweep; in a race of a sampler's best, of the race.
        decided: cells with a verdict.
        dropped: cells that left without one.
        complete: cells that are trained, where they do not race.
        round: of the race; 0: it does not race, or not yet.
        rounds: of the race at most; 0: it does not race.
        trained: trainings that are done.
        most: trainings that it may come to.
        fixed: whether it comes to just as many.
        best: None while no cell has a score.
    """

    study: str
    cells: int
    decided: int = 0
    dropped: int = 0
    complete: int = 0
    round: int = 0
    rounds: int = 0
    trained: int = 0
    most: int = 0
    fixed: bool = False
    best: Best | None = None

    @property
    def races(self) -> bool:
        """Whether cells leave by their verdicts."""
        return self.round > 0


@dataclass(frozen=True, kw_only=True)
class Now:
    """What is done at this moment.

    Attributes:
        title: such as "student resnet20 x 12".
        texts: how far it is, the longest first.
        so_far: seconds since it began.
        fraction: 0 to 1; None: it is not known.
        left: seconds, of this training; None: not known yet.
        sweep_left: seconds at most, of all trainings; None: not known yet.
        speed: such as "3,400 images/s"; empty: not known.
    """

    title: str
    texts: tuple[str, ...] = ("",)
    so_far: float = 0.0
    fraction: float | None = None
    left: float | None = None
    sweep_left: float | None = None
    speed: str = ""


def screen(
    standing: Standing | None, nows: Sequence[Now], width: int, *, plain: bool = False
) -> list[str]:
    """The lines, none wider than ``width`` columns.

    Args:
        standing: of the sweep; None outside of one.
        nows: what is being done.
        width: columns.
        plain: only ASCII.
    """
    lines = [] if standing is None else _standing(standing, width)
    if len(nows) > SHOWN:
        lines.append(fitted([f"{len(nows) - SHOWN} more trainings at the same time"], width))
    for now in nows[-SHOWN:]:
        lines.append(fitted(_titled(now), width))
        lines.append(_times(now, width, plain=plain))
    return lines


def fitted(candidates: Sequence[str], width: int) -> str:
    """The first of the candidates that fits into ``width`` columns; else the last, cut."""
    for line in candidates:
        if len(line) <= width:
            return line
    return candidates[-1][: max(width, 0)]


def _standing(at: Standing, width: int) -> list[str]:
    count = f"{at.trained} of {'' if at.fixed else 'at most '}{at.most} trainings"
    rounds = f"round {at.round} of {at.rounds}, " if at.races else ""
    lines = [
        fitted(
            [
                f"study {at.study}: {rounds}{count}",
                f"{at.study}: {rounds}{count}",
                f"{rounds}{count}",
                f"{rounds}{at.trained}/{at.most} trainings",
            ],
            width,
        )
    ]
    if at.races:
        going = at.cells - at.decided - at.dropped
        counts = f"{at.decided} decided, {going} open, {at.dropped} dropped"
        lines.append(fitted([f"cells: {counts} undecided", f"cells: {counts}", counts], width))
    else:
        lines.append(fitted([f"cells: {at.complete} of {at.cells} trained"], width))
    if at.best is not None:
        lines.append(_best(at.best, width))
    return lines


def _best(best: Best, width: int) -> str:
    """The leading cell; its label gives way before its numbers do."""
    numbers = f"{best.value} {best.interval}"
    verdict = f", {best.verdict}" if best.verdict else ""
    lines = [
        f"best so far: {best.label}: {numbers}{verdict}",
        f"best: {best.label}: {numbers}{verdict}",
        f"best: {best.label}: {numbers}",
        f"{best.label}: {numbers}",
        f"best so far: {numbers}",
        f"best: {best.value}",
    ]
    return fitted(lines, width)


def _titled(now: Now) -> list[str]:
    named = [f"{now.title}: {text}" for text in now.texts if text]
    return [*named, *(text for text in now.texts if text), now.title]


def _times(now: Now, width: int, *, plain: bool) -> str:
    """The bar and the times, each of which says what it is the time of."""
    so_far = f"{duration(now.so_far)} so far"
    if now.fraction is None:
        return fitted([so_far], width)
    share = f"{now.fraction:.0%}, {so_far}"
    if now.left is None:
        lines = [f"{share}; time left: known after the first epoch", share, so_far]
    else:
        left = f"about {duration(now.left)} left"
        sweep = ""
        if now.sweep_left is not None:
            sweep = f"; the sweep: at most {duration(now.sweep_left)} left"
        lines = [
            f"{share}, {left}{sweep}" + (f"; {now.speed}" if now.speed else ""),
            f"{share}, {left}{sweep}",
            f"{now.fraction:.0%}, {left}{sweep}",
            f"{now.fraction:.0%}, {left}",
            left,
        ]
    beside = [line for line in lines if len(line) + 1 + NARROWEST <= width]
    if not beside:
        return fitted(lines, width)
    room = min(width - len(beside[0]) - 1, WIDEST)
    return f"{_bar(now.fraction, room, plain=plain)} {beside[0]}"


def _bar(fraction: float, width: int, *, plain: bool) -> str:
    full = min(width, int(fraction * width))
    return ("#" if plain else "━") * full + ("-" if plain else "╌") * (width - full)
