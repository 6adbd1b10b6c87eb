"""The verdicts in words: one sentence per cell and one for the whole map, for the terminal."""

from __future__ import annotations

from kdsweep.verdict.outcome import POWER, Cell, Design, Outcome, Verdict

_POWER = f"{100.0 * POWER:g} % power"
_DESIGNS = {
    Design.BLOCKED: "paired by seed",
    Design.INDEPENDENT: "independent seeds",
}


def cell_sentence(label: str, cell: Cell, outcome: Outcome) -> str:
    """One cell's verdict: difference, interval, n, P(better) and the smallest effect."""
    head = f"{label}: {cell.verdict}"
    if cell.low is None or cell.high is None or cell.difference is None:
        known = "" if cell.difference is None else f", {cell.difference:+.2f} points"
        return f"{head}{known}, no interval: {cell.reason} (n = {_seeds(cell.n)})."
    assert cell.p_better is not None
    assert cell.smallest_effect is not None
    return (
        f"{head}, {cell.difference:+.2f} points [{cell.low:+.2f}, {cell.high:+.2f}] "
        f"({_level(outcome)}, n = {_seeds(cell.n)}), P(better) {_probability(cell.p_better)}; "
        f"smallest effect found with {_POWER}: {cell.smallest_effect:.2f} points."
    )


def outcome_sentence(outcome: Outcome, *, teachers: int = 1) -> str:
    """The verdicts of all cells, on what they rest and what they hold for.

    Args:
        outcome: of a map or of a confirmation.
        teachers: how many teachers' seeds the cells were trained with.
    """
    counts = ", ".join(
        f"{sum(cell.verdict is verdict for cell in outcome.cells)} {verdict}"
        for verdict in Verdict
    )
    cells = _count(len(outcome.cells), "cell")
    scope = "" if teachers >= 3 else f"; holds for {_count(teachers, 'teacher')} only"
    if not outcome.judged:
        reasons = sorted({cell.reason for cell in outcome.cells if cell.reason})
        return f"{cells}: {counts}; no intervals: {'; '.join(reasons)}{scope}."
    effects = [c.smallest_effect for c in outcome.cells if c.smallest_effect is not None]
    least = f"{min(effects):.2f}"
    if f"{max(effects):.2f}" != least:
        least += f" to {max(effects):.2f}"
    luck = ""
    if outcome.luck:
        luck = f"; the best of {outcome.judged} equal cells would show {outcome.luck:+.2f} by luck"
    return (
        f"{cells}: {counts} ({_level(outcome)}, {_DESIGNS[outcome.design]}, "
        f"n = {_seeds(outcome.n)} per cell, {outcome.baseline_n} of the baseline); "
        f"smallest effect found with {_POWER}: {least} points{luck}{scope}."
    )


def _level(outcome: Outcome) -> str:
    over = "" if outcome.judged == 1 else f" simultaneous over {outcome.judged} cells"
    return f"{100.0 * outcome.level:g} %{over}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _seeds(n: int) -> str:
    return _count(n, "seed")


def _probability(p: float) -> str:
    if p < 0.001:
        return "< 0.001"
    return "> 0.999" if p > 0.999 else f"{p:.3f}"
