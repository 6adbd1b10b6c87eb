"""Records to verdicts: which scores are compared with which, and what the report says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kdsweep.results.cells import DRAWN, CellRecords
from kdsweep.results.data import AverageVerdict, CellVerdict, Round, Sweep
from kdsweep.results.race import Race
from kdsweep.results.record import PRUNED
from kdsweep.verdict import Axis, Cell, Comparison, Outcome, outcome_lines

ADAPTIVE = (
    "No verdict on the map: its cells were proposed by a sampler that had seen earlier scores. "
    "Race the best of them on fresh seeds."
)
STOPPED = (
    "No verdict on the map: a pruner stopped cells by their scores, so those that are left were "
    "chosen by them. Confirm the best of them on fresh seeds."
)
ONE_SEED = "No verdict: one seed shows no spread to judge by; seeds=3 gives one."


def judge_sweep(
    sweep: Sweep, cells: Sequence[CellRecords], folder: Path, *, adaptive: bool
) -> tuple[Sweep, Outcome | None]:
    """The sweep with a verdict for each cell, where verdicts can be given.

    Args:
        sweep: what ``summarise`` made of the cells, in the same order.
        cells: of the study.
        folder: of the study, where its race is.
        adaptive: whether cells were chosen by what earlier ones scored.
    """
    if not sweep.objective.endswith("_accuracy") or "top5" in sweep.objective:
        return sweep, None
    if any(record.state == PRUNED for cell in cells for record in cell.rounds):
        return dataclasses.replace(sweep, verdict_lines=(STOPPED,)), None
    if not any(cell.baselines for cell in cells):
        return sweep, None
    race, raced = Race.find(folder), list(cells)
    if race is not None:  # the scores by which a sampler chose say nothing
        raced = [cell for cell in cells if cell.last.round > DRAWN]
    if race is None and adaptive:
        return dataclasses.replace(sweep, verdict_lines=(ADAPTIVE,)), None
    if race is None:
        race = Race.of(cells, margin=float(cells[0].last.config["verdict"]["margin"]))
    if race is None:
        return dataclasses.replace(sweep, verdict_lines=(ONE_SEED,)), None
    outcome = race.judge(raced, sweep.objective)
    lines = outcome_lines(
        outcome,
        race.labels(),
        axes=race.axes(),
        images=cells[0].last.images,
        split=sweep.split,
        teachers=len(sweep.teachers),
    )
    judged = with_verdicts(sweep, race.in_order_of(cells, outcome.cells), outcome, lines)
    return dataclasses.replace(
        judged,
        averages=_averages(outcome, race.axes()),
        rounds=_rounds(race, raced, cells, sweep.objective, outcome),
    ), outcome


def _averages(outcome: Outcome, axes: Sequence[Axis]) -> tuple[AverageVerdict, ...]:
    """The verdicts of rows, columns and the whole that have an interval."""
    found = []
    for average in outcome.averages:
        part, verdict = average.part, comparison_verdict(average)
        if verdict is not None:
            axis = None if part.axis is None else axes[part.axis]
            found.append(
                AverageVerdict(
                    axis=None if axis is None else axis.name,
                    value="" if axis is None else axis.values[part.at],
                    verdict=verdict,
                )
            )
    return tuple(found)


def _rounds(
    race: Race,
    raced: Sequence[CellRecords],
    cells: Sequence[CellRecords],
    metric: str,
    outcome: Outcome,
) -> tuple[Round, ...]:
    """Every look of a race of several, as it was: cells that had left before have no verdict."""
    if outcome.design.rounds == 1:
        return ()
    looks = []
    for number in range(1, outcome.round + 1):
        judged = race.judge(raced, metric, rounds=number).cells
        there = [cell if cell.round == number else None for cell in judged]
        verdicts = tuple(
            None if cell is None else cell_verdict(cell) for cell in race.in_order_of(cells, there)
        )
        looks.append(Round(number=number, verdicts=verdicts))
    return tuple(looks)


def with_verdicts(
    sweep: Sweep, verdicts: Sequence[Cell | None], outcome: Outcome, lines: Sequence[str]
) -> Sweep:
    """The sweep with the verdicts of its cells, in their order, and the outcome in words."""
    cells = tuple(
        dataclasses.replace(cell, verdict=None if judged is None else cell_verdict(judged))
        for cell, judged in zip(sweep.cells, verdicts, strict=True)
    )
    return dataclasses.replace(
        sweep, cells=cells, verdict_lines=tuple(lines), equivalence=outcome.design.margin
    )


def cell_verdict(cell: Cell) -> CellVerdict | None:
    """What a report shows of a cell's verdict; None where it has no interval."""
    verdict = comparison_verdict(cell)
    if verdict is None:
        return None
    return dataclasses.replace(verdict, racing=cell.racing, more_seeds=cell.more_seeds)


def comparison_verdict(given: Comparison) -> CellVerdict | None:
    """The same of anything that was compared with the baseline."""
    if given.low is None or given.high is None or given.difference is None:
        return None
    return CellVerdict(
        word=str(given.verdict),
        difference=given.difference,
        low=given.low,
        high=given.high,
        p_better=given.p_better,
    )
