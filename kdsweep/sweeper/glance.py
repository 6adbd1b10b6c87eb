"""What MLflow shows of a study at a glance: its cells with verdicts, their table, the answer."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence

from kdsweep.jobs.logged import DELTA, last_epoch, mean_history
from kdsweep.jobs.logger import RESULT
from kdsweep.results.cells import CellRecords
from kdsweep.results.data import Cell, Summary, Sweep, difference, summarise
from kdsweep.results.markdown import cell_markdown, summary_markdown
from kdsweep.results.record import COMPLETE, NetworkRecord
from kdsweep.results.summary import swept_keys
from kdsweep.tracking import Tracker, TrackingError
from kdsweep.tracking.links import table_view

COMPARED = 10  # cells, as many as MLflow's comparison shows at once
NOTE = 5000  # characters of a description, as many as every store takes
ROLE = "baseline mean"
EARLIER = "earlier round"

log = logging.getLogger(__name__)


def open_page(tracker: Tracker, parent: str, study: str, swept: Sequence[str]) -> None:
    """Let the study's run say, until its report, that there is no verdict yet."""
    tracker.log_view(parent, study, _view(study, swept, "val_accuracy"))
    tracker.describe(
        parent,
        "No verdict yet: it is written when the sweep's command ends. "
        f"[Its cells so far]({_here(tracker.table_url(study))})",
    )


def log_study(
    tracker: Tracker, parent: str, sweep: Sweep, cells: Sequence[CellRecords]
) -> list[str]:
    """Log what a study has found.

    Args:
        tracker: writes to MLflow.
        parent: the study's run.
        sweep: judged.
        cells: of the sweep, in its order.

    Returns:
        The runs to compare: the cells whose differences are clearest, and the baseline.
    """
    tracker.log_view(parent, sweep.study, _view(sweep.study, swept_keys(cells), sweep.objective))
    for cell, shown in zip(cells, sweep.cells, strict=True):
        _log_cell(tracker, sweep, cell, shown)
    baseline = _log_baseline(tracker, parent, sweep, cells)
    compared = [*_clearest(sweep, cells), *([] if baseline is None else [baseline])]
    records = [record for cell in cells for record in cell.rounds]
    complete = sum(record.state == COMPLETE for record in records)
    counts = {"trials": len(records), "trials_complete": complete, "cells": len(cells)}
    for word in ("better", "worse", "equivalent", "open"):
        counts[f"cells_{word}"] = sum(
            cell.verdict is not None and cell.verdict.word == word for cell in sweep.cells
        )
    tracker.log_metrics(parent, {name: float(count) for name, count in counts.items()})
    if sweep.verdict_lines:
        tracker.set_tags(parent, {"kdsweep.verdict": sweep.verdict_lines[0]})
    tracker.describe(
        parent,
        summary_markdown(
            sweep,
            progress=f"{complete} of {len(records)} trials are complete.",
            links=[
                f"[All {len(cells)} cells, by their difference]"
                f"({_here(tracker.table_url(sweep.study))})",
                f"[Curves side by side]({_here(tracker.compare_url(compared))})",
            ],
            limit=NOTE,
        ),
    )
    return compared


def _here(address: str) -> str:
    """An address of MLflow's UI for one of its own pages, wherever that is served."""
    return f"#{address.partition('#')[2]}"


def _view(study: str, swept: Sequence[str], objective: str) -> str:
    """The runs table with the study's cells and its baseline alone, the best difference first."""
    columns = {"attributes.`Run Name`": 240}
    columns |= {"tags.`kdsweep.verdict`": 130, "tags.`kdsweep.interval`": 170}
    columns |= {f"metrics.`{name}`": 100 for name in (DELTA, "n_seeds", objective)}
    columns |= {f"params.`{key}`": 130 for key in swept if "." in key}
    columns |= {"runDateAndNestInfo": 130, "duration": 80}
    which = f"tags.`kdsweep.study` = '{study}' and tags.`{RESULT}` != '{EARLIER}'"
    return table_view(which, sort=f"metrics.`{DELTA}`", columns=columns)


def _log_cell(tracker: Tracker, sweep: Sweep, cell: CellRecords, shown: Cell) -> None:
    """Let the run of a cell's last round be the cell's, with the seeds of all rounds."""
    last = cell.last
    for record in cell.rounds[:-1]:
        if record.run_id:
            later = f"see trial {last.trial}, of a later round"
            tags = {RESULT: EARLIER, "kdsweep.verdict": later, "kdsweep.interval": "-"}
            tracker.set_tags(record.run_id, tags)
    run, step = last.run_id, last_epoch(last)
    if not run:
        return
    summary = summarise(shown.accuracy_by_seed)
    tracker.set_tags(run, {RESULT: "cell"})
    tracker.describe(
        run, f"{cell_markdown(sweep, shown)} [All cells]({_here(tracker.table_url(sweep.study))})"
    )
    if len(cell.rounds) > 1:  # what was logged at its end is of its own seeds
        tracker.log_metrics(run, _of_all(sweep.objective, summary), step=step)
    verdict, gain = shown.verdict, difference(sweep, shown)
    if verdict is not None:
        tracker.log_verdict(
            run,
            verdict=verdict.word,
            difference=verdict.difference,
            low=verdict.low,
            high=verdict.high,
            n=summary.n,
            step=step,
        )
    elif gain is not None:
        tracker.set_tags(run, {"kdsweep.verdict": "none"})
        tracker.log_metrics(run, {DELTA: gain, "n_seeds": float(summary.n)}, step=step)


def _of_all(objective: str, summary: Summary) -> dict[str, float]:
    """What a run says of all seeds behind it."""
    numbers = {objective: summary.mean, f"{objective}_sd": summary.sd, "n_seeds": float(summary.n)}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _log_baseline(
    tracker: Tracker, parent: str, sweep: Sweep, cells: Sequence[CellRecords]
) -> str | None:
    """Give the baseline one run with the mean over its seeds; the run that stands for it.

    Cells with baselines of their own have none in common, and a store that is away does not say
    whether it has the run.
    """
    if sweep.baseline is None:
        return None
    try:
        runs = tracker.runs_of(sweep.study, tagged="kdsweep.role")
    except TrackingError as error:
        log.warning("%s; the baseline's mean is not logged", error)
        return None
    seeds = [run for run in runs if run.tags["kdsweep.role"] == "baseline"]
    networks = {seed: one for cell in cells for seed, one in cell.baselines.items() if one.metrics}
    if len(networks) < 2 or not seeds:
        return seeds[-1].run_id if seeds else None
    known = next((run.run_id for run in runs if run.tags["kdsweep.role"] == ROLE), None)
    run = known or tracker.open_run(
        f"baseline {sweep.baseline.label}, mean of its seeds",
        parent=parent,
        params={k: v for k, v in seeds[0].params.items() if k not in ("seed", "distill.losses")},
        tags={"kdsweep.role": ROLE, RESULT: "baseline", "kdsweep.verdict": "baseline"},
        start_ms=seeds[0].start_ms,
    )
    curve = mean_history([one.history for one in networks.values()])
    means = {
        DELTA: 0.0,
        **_means(list(networks.values())),
        **_of_all(sweep.objective, summarise(sweep.baseline.accuracy_by_seed)),
        **networks[min(networks)].costs,
    }
    tracker.log_metrics(run, means, step=len(curve))
    if known is None:
        tracker.log_history(run, curve)  # it is no work: no duration grows by it
        ends = [one.end_ms for one in seeds if one.end_ms is not None]
        tracker.close(run, "finished", end_ms=max(ends, default=None))
    return run


def _means(networks: Sequence[NetworkRecord]) -> dict[str, float]:
    return {
        name: statistics.fmean(one.metrics[name] for one in networks)
        for name in networks[0].metrics
    }


def _clearest(sweep: Sweep, cells: Sequence[CellRecords]) -> list[str]:
    """The runs of the cells whose differences are largest beside their intervals, in order."""

    def clearness(cell: Cell) -> float:
        verdict = cell.verdict
        if verdict is None:
            return abs(difference(sweep, cell) or 0.0)
        return abs(verdict.difference) / (verdict.high - verdict.low or 1.0)

    ranked = sorted(range(len(cells)), key=lambda i: -clearness(sweep.cells[i]))
    chosen = sorted(i for i in ranked[:COMPARED])
    return [run for i in chosen if (run := cells[i].last.run_id)]
