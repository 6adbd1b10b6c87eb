"""What to do after a study: one command, what it is for, and how many trainings it costs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kdsweep.results.cells import CellRecords
from kdsweep.results.data import Cell, Sweep, best_cell, difference, summarise
from kdsweep.results.judgement import ADAPTIVE, GONE, ONE_SEED
from kdsweep.results.provenance import given_of
from kdsweep.verdict import RaceDesign, baseline_seeds

SEEDS = 20  # of a confirmation
TOP = 3  # cells of a confirmation at most
FEW = 60  # more seeds that are worth proposing
OTHER = ("dist", "dkd", "logit_mse", "nkd", "standardized", "hinton")  # losses of any pair
_EPOCHS = "teacher.epochs"
_AXES = ("distill.temperature", "distill.alpha")


class Step(NamedTuple):
    """A command and its purpose."""

    purpose: str
    command: str


def next_step(
    study: str, sweep: Sweep, cells: Sequence[CellRecords], *, where: str, uri: str = ""
) -> Step:
    """The sensible next step.

    Args:
        study: its name.
        sweep: its report.
        cells: of it, in the same order.
        where: what tells kdsweep where its output is, as " root=runs"; empty: the default.
        uri: what tells a confirmation MLflow's address; empty: the study's own.
    """
    verdicts = [cell.verdict for cell in sweep.cells if cell.verdict is not None]
    first = given_of(cells[0])
    if best_cell(sweep) is None or any(v.racing for v in verdicts) or GONE in sweep.verdict_lines:
        return Step("Go on with the study", f"{_again(cells)}{where}")
    if {ONE_SEED, ADAPTIVE} & set(sweep.verdict_lines) and not _has_seeds(cells):
        count = _race(len(cells), 3, _rounds(cells), drawn=ADAPTIVE in sweep.verdict_lines)
        purpose = f"Repeat it with 3 seeds, for a verdict ({count})"
        return Step(purpose, f"{_again(cells, seeds='3')}{where}")
    better = sum(v.word == "better" for v in verdicts)
    if better or (not verdicts and _gains(sweep)):
        return _confirm(study, sweep, min(better or len(sweep.cells), TOP), where + uri)
    undecided = _nearest(sweep)
    if undecided is not None:
        return _decide(sweep, cells, undecided, where)
    if (weak := _weak_teacher(sweep, cells)) is not None:
        return Step(weak, f"{_again(cells, **{_EPOCHS: str(_longer(cells))})}{where}")
    fixed = {k: v for k, v in first.items() if not k.startswith(("distill", "seed", "study"))}
    seeds = str(max(3, int(cells[0].last.config["seeds"])))
    tried = {given_of(cell).get("distill", "hinton") for cell in cells}
    losses = [loss for loss in OTHER if loss not in tried][:TOP]
    words = [*_words(fixed, without=_AXES), f"distill={','.join(losses)}", f"seeds={seeds}"]
    count = _race(len(losses), int(seeds), _rounds(cells))
    return Step(
        f"Nothing to confirm; try other losses instead ({count})",
        f"{_line(words)}{where}",
    )


def _confirm(study: str, sweep: Sweep, top: int, where: str) -> Step:
    each = baseline_seeds(SEEDS, top)
    trainings = top * SEEDS + each * (top if sweep.baseline is None else 1)
    what = "its best cell" if top == 1 else f"its best {top} cells"
    return Step(
        f"Confirm {what}, on fresh seeds and on test ({trainings} trainings)",
        f"python -m kdsweep.confirm study={study}{where} top={top} seeds={SEEDS}",
    )


def _weak_teacher(sweep: Sweep, cells: Sequence[CellRecords]) -> str | None:
    """What to do about an only teacher that knows less than the student alone; else None."""
    config = cells[0].last.config
    if sweep.teacher is None or sweep.baseline is None or sweep.unit != "%":
        return None
    if config["teacher"]["checkpoint"] is not None or _EPOCHS in given_of(cells[0]):
        return None
    teacher = summarise(sweep.teacher.accuracy_by_seed).mean
    alone = summarise(sweep.baseline.accuracy_by_seed).mean
    if not teacher < alone:
        return None
    count = _race(len(cells), int(config["seeds"]), _rounds(cells))
    return (
        f"The teacher ({teacher:.2f} %) knows less than the student alone ({alone:.2f} %); "
        f"train it longer first ({count}, and the teacher)"
    )


def _longer(cells: Sequence[CellRecords]) -> int:
    """Epochs of a teacher that is to learn more: four times as many."""
    config = cells[0].last.config
    return 4 * int(config["teacher"]["epochs"] or config["train"]["epochs"])


def _gains(sweep: Sweep) -> bool:
    """Whether the best cell is ahead of the baseline, or there is none to be ahead of."""
    best = best_cell(sweep)
    gap = None if best is None else difference(sweep, best)
    return gap is None or (gap > 0) == sweep.maximize


def _nearest(sweep: Sweep) -> Cell | None:
    """The cell without a verdict that gains most, where a few more seeds would decide it."""
    found = [
        cell
        for cell in sweep.cells
        if cell.verdict is not None
        and cell.verdict.word == "open"
        and cell.verdict.more_seeds is not None
        and cell.verdict.more_seeds <= FEW
        and cell.verdict.difference > 0
    ]
    return max(found, key=lambda cell: difference(sweep, cell) or 0.0) if found else None


def _decide(sweep: Sweep, cells: Sequence[CellRecords], cell: Cell, where: str) -> Step:
    """A study of that cell alone, with seeds that nobody has seen."""
    records, verdict = cells[sweep.cells.index(cell)], cell.verdict
    assert verdict is not None
    assert verdict.more_seeds is not None
    rounds = _rounds(cells)
    seen = max(len(one.accuracy_by_seed) for one in sweep.cells)
    seeds = max(2, -(-(len(cell.accuracy_by_seed) + verdict.more_seeds) // rounds))
    alone = [seed for one in cells for seed in one.baselines]
    start = min(seed for record in records.rounds for seed in record.seeds)
    words = _words(given_of(records), without=("seeds", "seed", "study"))
    words += [f"seeds={seeds}", f"seed={start + seen}"]
    words += [f"verdict.first_baseline_seed={max(alone) + 1}"]
    gap = f"{verdict.difference:+.{sweep.decimals}f} {sweep.difference_unit}"
    return Step(
        f"Decide {cell.label}, if its {gap} are real, on fresh seeds ({_race(1, seeds, rounds)})",
        f"{_line(words)}{where}",
    )


def _race(cells: int, seeds: int, rounds: int, *, drawn: bool = False) -> str:
    """The trainings of a race; of a sampler's cells first theirs, then of the best of them."""
    design = RaceDesign.create(
        cells=min(cells, TOP) if drawn else cells, seeds=seeds, rounds=rounds
    )
    before = (cells + 1) * seeds if drawn else 0
    least, most = (before + design.trainings(looks) for looks in (1, rounds))
    return f"{most} trainings" if least == most else f"{least} to {most} trainings"


def _rounds(cells: Sequence[CellRecords]) -> int:
    return int(cells[0].last.config["rounds"])


def _has_seeds(cells: Sequence[CellRecords]) -> bool:
    return int(cells[0].last.config["seeds"]) > 1


def _again(cells: Sequence[CellRecords], **changed: str) -> str:
    """The study's command, with some keys changed; with another seed count it is another study."""
    points = [given_of(cell) for cell in cells]
    keys = [key for key in points[0] if key not in changed and not (changed and key == "study")]
    levels = {key: list(dict.fromkeys(point.get(key, "") for point in points)) for key in keys}
    adaptive = "search" in points[0]
    words = [
        f"{key}={','.join(values)}"
        for key, values in levels.items()
        if key not in _HERE and (len(values) == 1 or not adaptive)
    ]
    return _line([*words, *(f"{key}={value}" for key, value in changed.items())])


_HERE = ("root", "storage")  # told apart from the others, since they are shown with every command


def _words(given: Mapping[str, str], *, without: Sequence[str]) -> list[str]:
    return [f"{k}={v}" for k, v in given.items() if k not in (*without, *_HERE)]


def _line(words: Sequence[str]) -> str:
    return " ".join(["python -m kdsweep -m", *map(shlex.quote, words)])
