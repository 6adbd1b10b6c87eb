"""How a sweep stands, for the display: what is decided, what leads, how much is trained."""

from __future__ import annotations

from collections.abc import Sequence

from kdsweep.results.cells import DRAWN, CellRecords, cells_of
from kdsweep.results.data import Sweep, best_cell
from kdsweep.results.data import summarise as summary_of
from kdsweep.results.race import Race
from kdsweep.results.record import Record
from kdsweep.results.summary import summarise
from kdsweep.terminal.screen import Best, Standing
from kdsweep.verdict import Cell, Outcome, RaceDesign, Verdict


def standing(
    study: str,
    records: Sequence[Record],
    race: Race | None,
    *,
    cells: int,
    round_: int,
    rounds: int,
    most: int,
    fixed: bool,
    metric: str,
) -> Standing:
    """By the records alone.

    Args:
        study: its name.
        records: of the study so far.
        race: None where the cells don't race, or not yet.
        cells: of the sweep.
        round_: that is trained now; 0 before the race, or where there is none.
        rounds: at most.
        most: trainings of the whole sweep.
        fixed: whether it will come to just as many.
        metric: by which the race judges.
    """
    trained = sum(len(record.seeds) for record in records)
    trained += len({one.key for record in records for one in record.baselines})
    count = min(trained, most)
    if race is None or round_ == DRAWN:
        found = cells_of(records)
        return Standing(
            study=study,
            cells=cells,
            complete=len(found),
            trained=count,
            most=most,
            fixed=fixed,
            best=_leading(study, found),
        )
    raced = cells_of([record for record in records if record.round > DRAWN], race.keys)
    outcome = race.judge(raced, metric)
    raced_at_most = race.design.trainings(rounds)
    most += trainings_at_most(race.design, outcome, rounds) - raced_at_most
    return Standing(
        study=study,
        cells=len(outcome.cells),
        decided=sum(cell.verdict is not Verdict.OPEN for cell in outcome.cells),
        dropped=sum(
            cell.verdict is Verdict.OPEN and not cell.racing
            for cell in (outcome.cells if outcome.round else ())
        ),
        round=round_,
        rounds=rounds,
        trained=min(trained, most),
        most=most,
        fixed=fixed,
        best=_best(outcome.cells, race.labels()),
    )


def trainings_at_most(design: RaceDesign, outcome: Outcome, rounds: int) -> int:
    """Trainings of a race's cells and baselines, if no further cell leaves before its end.

    Args:
        design: of the race.
        outcome: of its rounds so far.
        rounds: after which it ends.
    """
    if not outcome.round:
        return design.trainings(rounds)
    rounds = max(rounds, outcome.round)  # an earlier command may have asked for more
    cells = design.cell_seeds(rounds) - design.cell_seeds(outcome.round)
    baselines = design.baseline_seeds(rounds) - design.baseline_seeds(outcome.round)
    groups = {design.groups[i] for i in outcome.pending}
    return outcome.trainings + len(outcome.pending) * cells + len(groups) * baselines


def _best(cells: Sequence[Cell], labels: Sequence[str]) -> Best | None:
    """The cell of a race with the best difference so far."""
    pairs = zip(cells, labels, strict=True)
    known = [(c.difference, c, n) for c, n in pairs if c.difference is not None]
    if not known:
        return None
    difference, cell, label = max(known, key=lambda one: one[0])
    if cell.low is None or cell.high is None:
        interval = "points, no interval before its round is complete"
        return Best(label=label, value=f"{difference:+.2f}", interval=interval)
    return Best(
        label=label,
        value=f"{difference:+.2f}",
        interval=f"[{cell.low:+.2f}, {cell.high:+.2f}] points",
        verdict="not decided" if cell.verdict is Verdict.OPEN else str(cell.verdict),
    )


def _leading(study: str, cells: Sequence[CellRecords]) -> Best | None:
    """The best mean of cells that are not judged yet, or never are."""
    if not cells:
        return None
    sweep: Sweep = summarise(study, cells)
    best = best_cell(sweep)
    if best is None:
        return None
    mean = summary_of(best.accuracy_by_seed)
    seeds = "one seed" if mean.of == 1 else "no verdict yet"
    value = f"{sweep.objective} {mean.mean:.{sweep.decimals}f}"
    return Best(label=best.label, value=value, interval=f"{sweep.unit}, {seeds}")
