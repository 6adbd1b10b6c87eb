"""A study's cells as a table of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdsweep.results.cells import CellRecords
from kdsweep.results.data import Cell, Sweep, difference, summarise

if TYPE_CHECKING:
    import pandas as pd


def cells_frame(sweep: Sweep, records: Sequence[CellRecords]) -> pd.DataFrame:
    """A row for each cell, in the order in which they were swept.

    Args:
        sweep: the study's report.
        records: of the same cells, in the same order.

    Returns:
        The swept values, then the objective's mean over seeds under its own name, its standard
        deviation ``sd``, ``n`` seeds, ``difference`` from the baseline with ``low`` and ``high``
        of its interval, ``p_better``, ``verdict``, ``state``, ``reason``, ``seconds`` and the
        ``trial`` of the last round. What does not exist is NaN or None.
    """
    import pandas as pd

    pairs = zip(sweep.cells, records, strict=True)
    return pd.DataFrame([_row(sweep, cell, kept) for cell, kept in pairs])


def _row(sweep: Sweep, cell: Cell, records: CellRecords) -> dict[str, Any]:
    summary, verdict = summarise(cell.accuracy_by_seed), cell.verdict
    return {
        **cell.values,
        sweep.objective: summary.mean,
        "sd": summary.sd,
        "n": summary.n,
        "difference": difference(sweep, cell),
        "low": None if verdict is None else verdict.low,
        "high": None if verdict is None else verdict.high,
        "p_better": None if verdict is None else verdict.p_better,
        "verdict": None if verdict is None else verdict.word,
        "state": cell.state,
        "reason": cell.reason,
        "seconds": cell.seconds,
        "trial": records.last.trial,
    }
