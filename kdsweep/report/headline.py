"""The report in one breath: what was asked, what came out, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdsweep.report.words import interval_text, number, whole
from kdsweep.results.data import Cell, CellVerdict, Sweep, best_cell, difference
from kdsweep.results.record import FAILED

_FEW = 60  # more seeds that are worth proposing
CONFIRM = "Confirm the best cells on fresh seeds and on test before you rely on them."


@dataclass(frozen=True, kw_only=True)
class Headline:
    """Three sentences that stand on top."""

    question: str
    answer: str
    advice: str


def headline(sweep: Sweep) -> Headline:
    """Of a sweep with verdicts or without."""
    student = "the student" if sweep.baseline is None else f"the student {sweep.baseline.label}"
    teacher = "its teacher" if sweep.teacher is None else f"the teacher {sweep.teacher.label}"
    question = f"Does learning from {teacher} help {student} on {sweep.dataset}?"
    judged = [(cell, cell.verdict) for cell in sweep.cells if cell.verdict is not None]
    if judged:
        return Headline(question=question, answer=_answer(sweep, judged), advice=_advice(sweep))
    return Headline(question=question, answer=_unjudged(sweep), advice=_advice(sweep))


def _answer(sweep: Sweep, judged: Sequence[tuple[Cell, CellVerdict]]) -> str:
    """Yes, no, or not shown, with the cell that says it best."""
    of = {word: [(c, v) for c, v in judged if v.word == word] for word in ("better", "worse")}
    better, worse = of["better"], of["worse"]
    cells = len(sweep.cells)
    if better:
        cell, v = max(better, key=lambda pair: pair[1].difference)
        gain = f"{number(v.difference, sweep.decimals, signed=True)} {sweep.difference_unit}"
        where = "" if cells == 1 else f" in {len(better)} of {cells} cells"
        most = "" if cells == 1 else f"most at {cell.label}: "
        harm = f"; it harms in {len(worse)}" if worse else ""
        verb = "Yes" if not worse else "It depends: it helps"
        comma = "," if not worse and where else ""
        return f"{verb}{comma}{where}{harm}; {most}{gain} ({interval_text(sweep, v)})."
    if worse:
        where = "" if cells == 1 else f" in {len(worse)} of {cells} cells"
        return f"No: it harms{where}, and helps in none."
    average = whole(sweep)
    if average is not None and average.word in ("better", "worse"):
        gap = f"{number(average.difference, sweep.decimals, signed=True)} {sweep.difference_unit}"
        helps = "helps" if average.word == "better" else "harms"
        return f"It {helps} on average over all cells, by {gap}; no single cell shows it."
    limit = max(v.high for _, v in judged)
    gain = f"{number(limit, sweep.decimals, signed=True)} {sweep.difference_unit}"
    unknown = cells - len(judged)
    rest = f" ({unknown} without an interval apart)" if unknown else ""
    none = "the cell gains" if cells == 1 else "no cell gains"
    if all(v.word == "equivalent" for _, v in judged) and not unknown:
        within = f"{sweep.equivalence:g} {sweep.difference_unit}"
        return f"No: it makes no difference of more than {within}."
    if cells == 1:
        return f"Not shown: the cell gains between {interval_text(sweep, judged[0][1])}, so 0 too."
    return f"Not shown: no cell differs from the student alone; {none} more than {gain}{rest}."


def _unjudged(sweep: Sweep) -> str:
    """What can be said without intervals."""
    best = best_cell(sweep)
    if best is None:
        return f"Unknown: none of {len(sweep.cells)} cells is complete."
    gap = difference(sweep, best)
    if gap is None:
        return f"No answer: there is no baseline to compare with; the best mean is {best.label}."
    gain = f"{number(gap, sweep.decimals, signed=True)} {sweep.difference_unit}"
    several = len(sweep.cells) > 1
    which = f"the best of {len(sweep.cells)} cells, {best.label}," if several else best.label
    return f"Not judged: {which} differs by {gain}, with no interval to tell luck."


def _advice(sweep: Sweep) -> str:
    """The one thing to do next."""
    verdicts = [cell.verdict for cell in sweep.cells if cell.verdict is not None]
    if best_cell(sweep) is None:
        return "Look at why the cells failed, mend it, and give the same command again."
    if any(v.racing for v in verdicts):
        return "The race is not over: give the same command again, and it goes on."
    words = {v.word for v in verdicts}
    if sweep.split == "test":
        return _after_test(words)
    return _after_race(verdicts, words) if verdicts else _without_verdict(sweep)


def _after_race(verdicts: Sequence[CellVerdict], words: set[str]) -> str:
    """Of cells that have intervals."""
    if "better" in words:
        return CONFIRM
    if words <= {"worse", "equivalent"}:
        return "Train this student alone, or change the teacher or the loss, not these values."
    more = min((v.more_seeds for v in verdicts if v.more_seeds is not None), default=_FEW + 1)
    if more <= _FEW:
        return f"About {more} more seeds would decide the nearest cell; else, stop here."
    return "More seeds would hardly decide it: change the teacher or the loss, or stop here."


def _without_verdict(sweep: Sweep) -> str:
    if any(cell.state == FAILED for cell in sweep.cells):
        return "Mend what failed and give the same command again."
    seeds = max(len(cell.accuracy_by_seed) for cell in sweep.cells)
    if sweep.baseline is None:
        return "Compare it with a baseline that all cells have in common."
    return (
        CONFIRM if seeds > 1 else "Repeat it with seeds=3: one seed can't tell a gain from luck."
    )


def _after_test(words: set[str]) -> str:
    """Of a confirmation: test has been opened."""
    if "better" in words:
        return "Use the best cell; its difference here is the one to report."
    if words:
        return "Report these intervals; on what has been seen, do not choose again."
    return "Report these numbers; do not choose by them."
