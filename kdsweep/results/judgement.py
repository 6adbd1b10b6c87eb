"""Records to verdicts: which scores are compared with which, and what the report says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kdsweep.results.cells import DRAWN, CellRecords
from kdsweep.results.data import CellVerdict, Look, Sweep
from kdsweep.results.energy import with_energy
from kdsweep.results.race import Race
from kdsweep.results.record import PRUNED, Record
from kdsweep.verdict import (
    Cell,
    Comparison,
    Outcome,
    average_label,
    outcome_lines,
)

ADAPTIVE = (
    "No verdict on the map: its cells were proposed by a sampler that had seen earlier scores. "
    "Race the best of them on fresh seeds."
)
STOPPED = (
    "No verdict on the map: a pruner stopped cells by their scores, so those that are left were "
    "chosen by them. Confirm the best of them on fresh seeds."
)
GONE = (
    "No verdict: race.json, in which the rounds' levels are fixed, is gone from the study's "
    "folder; the sweep's command writes it again."
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
    sweep = with_energy(sweep, folder)
    if not sweep.objective.endswith("_accuracy") or "top5" in sweep.objective:
        return sweep, None
    if any(record.state == PRUNED for cell in cells for record in cell.rounds):
        return dataclasses.replace(sweep, verdict_lines=(STOPPED,)), None
    if not any(cell.baselines for cell in cells):
        return sweep, None
    race, raced = Race.find(folder), list(cells)
    if race is not None:  # the scores by which a sampler chose say nothing
        raced = [cell for cell in cells if cell.last.round > DRAWN]
    if race is None:
        planned = any(_raced(record) for cell in cells for record in cell.rounds)
        why = GONE if planned else ADAPTIVE if adaptive else ONE_SEED
        if why is ONE_SEED:
            race = Race.of(cells, margin=float(cells[0].last.config["verdict"]["margin"]))
    if race is None:
        return dataclasses.replace(sweep, verdict_lines=(why,)), None
    outcome = race.judge(raced, sweep.objective)
    outcome = dataclasses.replace(outcome, labels=tuple(race.labels()))
    lines = outcome_lines(
        outcome,
        race.labels(),
        axes=race.axes(),
        images=cells[0].last.images,
        split=sweep.split,
        teachers=len(sweep.teachers),
    )
    if len(race.points) < len(cells):
        lines.append(
            f"{len(race.points)} of {len(cells)} cells raced, with fresh seeds. The others have "
            "no verdict: their scores are those by which a sampler chose."
        )
    sweep = with_verdicts(sweep, race.in_order_of(cells, outcome.cells), outcome, lines)
    named = {average_label(a, race.axes(), len(outcome.cells)): a for a in outcome.averages}
    averages = {name: cell_verdict(average) for name, average in named.items()}
    sweep = dataclasses.replace(
        sweep,
        averages={name: verdict for name, verdict in averages.items() if verdict is not None},
        rounds=race.design.seeds,
    )
    rounds = race.judge_rounds(raced, sweep.objective)
    return _with_looks(sweep, [race.in_order_of(cells, one.cells) for one in rounds]), outcome


def _raced(record: Record) -> bool:
    """Whether a race of several rounds was planned, so that a round counts as one of its looks."""
    config = record.config
    several = config["seeds"] > 1 and config["rounds"] > 1
    alone = len(record.objectives) == 1 and config["pruner"]["name"] == "none"
    return record.round > 1 or (record.round == 1 and several and alone)


def _with_looks(sweep: Sweep, rounds: Sequence[Sequence[Cell | None]]) -> Sweep:
    """The sweep with what each round, whose cells are in the sweep's order, found."""
    cells = []
    for i, cell in enumerate(sweep.cells):
        verdict = cell.verdict
        if verdict is not None:
            seen = [_look(judged[i], r) for r, judged in enumerate(rounds, 1)]
            looks = tuple(look for look in seen if look is not None)
            verdict = dataclasses.replace(verdict, looks=looks)
        cells.append(dataclasses.replace(cell, verdict=verdict))
    return dataclasses.replace(sweep, cells=tuple(cells))


def _look(cell: Cell | None, round_: int) -> Look | None:
    """What a round found of a cell; None where the cell was not in it, or has no interval."""
    if cell is None or cell.round != round_:
        return None
    if cell.low is None or cell.high is None or cell.difference is None:
        return None
    return Look(
        word=str(cell.verdict), n=cell.n, difference=cell.difference, low=cell.low, high=cell.high
    )


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


def cell_verdict(cell: Comparison) -> CellVerdict | None:
    """What a table shows of a cell's or an average's verdict; None where it has no interval."""
    if cell.low is None or cell.high is None or cell.difference is None:
        return None
    return CellVerdict(
        word=str(cell.verdict),
        difference=cell.difference,
        low=cell.low,
        high=cell.high,
        p_better=cell.p_better,
        racing=isinstance(cell, Cell) and cell.racing,
        more_seeds=cell.more_seeds if isinstance(cell, Cell) else None,
    )
