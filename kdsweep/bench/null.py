"""Sweeps in which nothing differs, trained for real: how often the whole tool finds something.

``python -m kdsweep.bench null sweeps=20`` gives one command after the other, each a race over five
temperatures at which the teacher's share of the loss is a thousandth: enough to change the course
of a training, too little to matter. Every sweep has seeds of its own, for cells and baseline.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsweep.bench.verdicts import planned
from kdsweep.config.verdict import FIRST_BASELINE_SEED
from kdsweep.errors import TrainingError, UserError
from kdsweep.results.cells import CellRecords, cells_of, read_records
from kdsweep.results.race import Race
from kdsweep.terminal import arguments
from kdsweep.verdict import Comparison, Outcome, Verdict
from kdsweep.verdict.race import race

Array = NDArray[np.float64]

APART = 1000  # seeds from one sweep to the next, more than any has
MAPS, CHUNK = 20_000, 2_000
METRIC = "val_accuracy"
SETTINGS = (
    "experiment=quickstart",
    "tracking=none",
    "distill.alpha=0.001",
    "distill.temperature=1,2,3,4,5",
)
DEFAULTS = {"sweeps": "20", "root": "mlruns", "first": "0"}


@dataclass(frozen=True, kw_only=True)
class Null:
    """What one sweep came to.

    Attributes:
        study: its name.
        outcome: its verdicts.
        scores: of the cells [cells, n] on the seeds that all of them have, in percent.
        baselines: of the baseline's seeds, in percent.
    """

    study: str
    outcome: Outcome
    scores: Array
    baselines: Array

    @property
    def errors(self) -> list[Comparison]:
        """Cells and averages that are told apart from the baseline, which none is."""
        found: tuple[Comparison, ...] = (*self.outcome.cells, *self.outcome.averages)
        return [each for each in found if each.verdict in (Verdict.BETTER, Verdict.WORSE)]


def main(given: Sequence[str] = ()) -> None:
    """Train the sweeps, a line for each, and say how many erred.

    Sweeps that are there already are read, not trained.

    Raises:
        UserError: an argument is unknown or out of range.
        TrainingError: a sweep ended with an error.
    """
    overrides = [each for each in given if each.partition("=")[0] not in DEFAULTS]
    values = arguments.parse([each for each in given if each not in overrides], DEFAULTS)
    sweeps, first = (_whole(values, key, least) for key, least in (("sweeps", 1), ("first", 0)))
    found: list[Null] = []
    for number in range(first, first + sweeps):
        found.append(run(number, Path(values["root"] or "mlruns"), overrides))
        print(line(found[-1]), flush=True)
    for text in summary(found):
        print(text)


def run(number: int, root: Path, overrides: Sequence[str]) -> Null:
    """Train one sweep with a command of its own, and read what it came to."""
    study = f"null-{number}"
    command = [
        *(sys.executable, "-m", "kdsweep", "-m", f"study={study}", f"root={root}", *SETTINGS),
        f"seed={number * APART}",
        f"verdict.first_baseline_seed={FIRST_BASELINE_SEED + number * APART}",
        *overrides,
    ]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise TrainingError(f"{' '.join(command)}: {ended.stderr.strip() or ended.stdout[-500:]}")
    folder = root / "hydra" / "studies" / study
    raced = Race.find(folder)
    if raced is None:
        raise TrainingError(f"{folder}: it has no race")
    cells = cells_of(read_records(folder), raced.keys)
    return Null(
        study=study,
        outcome=raced.judge(cells, METRIC),
        scores=_scores(cells),
        baselines=_baselines(cells),
    )


def line(null: Null) -> str:
    """One sweep in a line."""
    outcome = null.outcome
    counts = ", ".join(f"{outcome.count(each)} {each}" for each in Verdict)
    widest = max(outcome.cells, key=lambda cell: abs(cell.difference or 0.0))
    return (
        f"{null.study}: {counts}; in error {len(null.errors)} of {len(outcome.cells)} cells and "
        f"{len(outcome.averages)} averages; largest difference {widest.difference:+.2f} "
        f"[{widest.low:+.2f}, {widest.high:+.2f}]; {outcome.trainings} trainings"
    )


def summary(found: Sequence[Null]) -> Iterator[str]:
    """What all sweeps together say."""
    erred = [null.study for null in found if null.errors]
    trainings = [null.outcome.trainings for null in found]
    yield (
        f"{len(erred)} of {len(found)} sweeps in error {erred or ''}; "
        f"{sum(trainings)} trainings, {min(trainings)} to {max(trainings)} a sweep"
    )
    shared = np.array([_correlation(null.scores) for null in found])
    yield f"correlation of cells on the same seed: {np.nanmean(shared):.2f} on average"
    yield f"maps drawn from these trainings: {100 * resampled(found):.1f} % of {MAPS} in error"


def resampled(found: Sequence[Null], *, seed: int = 0) -> float:
    """The share of races in error whose scores are drawn, with replacement, from real ones.

    A seed is drawn with the scores of all its cells, so that these stay as correlated as they
    are. Means over all sweeps are subtracted, of each cell and of the baseline, so that nothing
    differs.
    """
    design = planned((len(found[0].scores),))
    cells = np.concatenate([null.scores for null in found], axis=1)
    cells = cells - cells.mean(axis=1, keepdims=True)
    baselines = np.concatenate([null.baselines for null in found])
    baselines = baselines - baselines.mean()
    rng = np.random.default_rng(seed)
    erred = 0
    for start in range(0, MAPS, CHUNK):
        maps = min(CHUNK, MAPS - start)
        own = cells[:, rng.integers(0, cells.shape[1], (maps, design.seeds[-1]))]
        theirs = baselines[rng.integers(0, len(baselines), (maps, 1, design.baselines[-1]))]
        ran = race(design, own.transpose(1, 0, 2), theirs)
        wrong = np.zeros(maps, bool)
        for part in (ran.cells, ran.averages):
            wrong |= ((part.low > 0) | (part.high < 0)).any(axis=1)
        erred += int(wrong.sum())
    return erred / MAPS


def _correlation(scores: Array) -> float:
    """Between pairs of cells [cells, n] over seeds, on average."""
    matrix = np.atleast_2d(np.corrcoef(scores))
    return float(matrix[np.triu_indices(len(scores), 1)].mean())


def _scores(cells: Sequence[CellRecords]) -> Array:
    own = [cell.scores(METRIC) for cell in cells]
    n = min(map(len, own))
    return np.array([each[:n] for each in own])


def _baselines(cells: Sequence[CellRecords]) -> Array:
    by_seed = {seed: one for cell in cells for seed, one in cell.baselines.items()}
    values = [by_seed[seed].metrics.get(METRIC, np.nan) for seed in sorted(by_seed)]
    return np.array([value for value in values if np.isfinite(value)])


def _whole(values: Mapping[str, str | None], key: str, least: int) -> int:
    text = values[key] or ""
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{key}={text}: allowed is a whole number from {least} up")
    return int(text)
