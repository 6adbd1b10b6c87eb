"""The bar on a terminal: one line that fits, whatever its width, with every number whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from kdsweep.terminal.durations import duration, times

SPINNER = 2  # columns, with the space behind it
NARROWEST, WIDEST = 8, 40  # columns of the bar itself; it is left out below the narrowest


class Bar:
    """A spinner, a title, a bar and a text; the bar gives way first, then the longer words.

    Args:
        title: what is being done.
        console: where it is shown; None: the terminal.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self.title = title
        self.console = Console() if console is None else console
        self.bar = BarColumn(bar_width=NARROWEST)
        self.rich = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            console=self.console,
            transient=True,
        )
        self.text_column = self.rich.columns[1]
        self.task = self.rich.add_task(title, total=None)
        self.rich.start()

    def update(self, texts: Sequence[str], elapsed: float, *, done: int, total: int) -> None:
        """Show how far it is.

        Args:
            texts: on what is being done, the longest first; the first that fits is shown.
            elapsed: seconds since the start.
            done: optimiser steps.
            total: of so many.
        """
        room = self.console.width - SPINNER
        line = fitted(lines(self.title, texts, elapsed, done=done, total=total), room)
        left = room - len(line) - 1
        self.bar.bar_width = min(left, WIDEST)
        columns = (SpinnerColumn(), self.text_column, self.bar)
        self.rich.columns = columns if left >= NARROWEST else columns[:2]
        self.rich.update(self.task, description=line, completed=done, total=total)

    def stop(self) -> None:
        """Take the line away."""
        self.rich.stop()


def lines(title: str, texts: Sequence[str], elapsed: float, *, done: int, total: int) -> list[str]:
    """What could be shown, from everything to the least."""
    time = times(elapsed, done, total)
    short = f"{duration(elapsed / done * (total - done))} left" if done > 0 else time
    found = [f"{title}: {text}, {time}" if text else f"{title}, {time}" for text in texts[:-1]]
    found += [f"{text}, {end}" for text in texts[:-1] for end in (time, short)]
    least = texts[-1]
    return [*found, f"{title}: {least}, {time}" if least else f"{title}, {time}", least or time]


def fitted(candidates: Sequence[str], width: int) -> str:
    """The first of the candidates that fits into ``width`` columns; else the last, cut."""
    for line in candidates:
        if len(line) <= width:
            return line
    return candidates[-1][: max(width, 0)]
