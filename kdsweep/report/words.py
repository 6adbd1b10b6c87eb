"""Numbers and verdicts for a reader, in a table, a picture or a sentence."""

from __future__ import annotations

import math
import re

from kdsweep.results.data import CellVerdict, Look, Sweep

# Of words and roles on a terminal, as rich names them.
STYLES = {
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
    "open": "yellow",
    "teacher": "blue",
    "baseline": "bold",
    "best": "bold",
    "failed": "red",
    "pruned": "dim",
}
SHAPES = {"better": "▲", "worse": "▼", "equivalent": "■", "open": "○"}


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """A number for a reader; empty where there is none."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:{'+' if signed else ''}.{decimals}f}"


def duration(seconds: float | None) -> str:
    """``42 s``, ``3m05``, ``1h02``; empty where it is not known."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}"


def shape(word: str) -> str:
    """The mark of a verdict, which tells it without its colour; empty for any other word."""
    return SHAPES.get(word, "")


def interval_text(sweep: Sweep, verdict: CellVerdict | Look) -> str:
    """``+0.50 to +1.75``."""
    d = sweep.decimals
    return f"{number(verdict.low, d, signed=True)} to {number(verdict.high, d, signed=True)}"


def verdict_text(sweep: Sweep, verdict: CellVerdict | Look) -> str:
    """``better: +1.00 points, 95 % interval +0.50 to +1.75``; what is open says so first."""
    word = "not decided" if verdict.word == "open" else verdict.word
    gap = number(verdict.difference, sweep.decimals, signed=True)
    return f"{word}: {gap} {sweep.difference_unit}, 95 % interval {interval_text(sweep, verdict)}"


def spread_text(sweep: Sweep, mean: float, sd: float) -> str:
    """``72.70 ± 0.21 %``; the mean alone where there is no deviation."""
    d = sweep.decimals
    spread = f" ± {number(sd, d)}" if math.isfinite(sd) else ""
    return f"{number(mean, d)}{spread} {sweep.unit}"


def whole(sweep: Sweep) -> CellVerdict | None:
    """The verdict of the average over all cells; None where there is none."""
    named = sweep.averages.items()
    return next(
        (v for name, v in named if re.fullmatch("both cells|all [0-9]+ cells", name)), None
    )


def shortened(label: str, most: int) -> str:
    """A label of at most so many characters: its middle goes, for labels differ at their ends."""
    if len(label) <= most:
        return label
    head = (most - 1) // 2
    return f"{label[:head]}…{label[len(label) - (most - 1 - head) :]}"
