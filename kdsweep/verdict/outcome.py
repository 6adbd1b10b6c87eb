"""What a race says of each cell, of rows and columns, and of the whole map."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kdsweep.verdict.design import RaceDesign, Slice


class Verdict(StrEnum):
    """The four answers; a difference comes before equivalence."""

    BETTER = "better"  # the interval lies above 0, however little
    WORSE = "worse"  # below 0
    EQUIVALENT = "equivalent"  # it holds 0 and lies within the margin
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Something against the baseline; differences are its mean less the baseline's, in points.

    Everything that needs an interval is None where ``reason`` says why there is none.
    """

    verdict: Verdict
    difference: float | None  # None where no seed finished
    n: int  # seeds that finished; of an average, those of all its cells
    failed: int  # seeds that did not
    error: float | None = None  # standard error
    low: float | None = None  # simultaneous interval, within what accuracies can be
    high: float | None = None
    p_better: float | None = None  # posterior P(true difference > 0), flat prior, this one alone
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cell(Comparison):
    """One cell of the map."""

    round: int  # that decided it, or the last one that it was in
    racing: bool  # goes on in the next round
    more_seeds: int | None = None  # that would decide a difference of its present size, if open


@dataclass(frozen=True, kw_only=True)
class Average(Comparison):
    """The mean over a row, a column or the whole of a grid."""

    part: Slice


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdicts of one race, so far."""

    design: RaceDesign
    cells: tuple[Cell, ...]
    averages: tuple[Average, ...]  # in the order of ``RaceDesign.slices``
    round: int  # the last one judged; 0 before the first
    baseline_mean: tuple[float, ...]  # percent, of each baseline's seeds that were used
    baseline_n: tuple[int, ...]
    trainings: int  # of cells and baselines that the rounds so far have asked for
    labels: tuple[str, ...] = ()  # of the cells, in their order, where they have names

    def __str__(self) -> str:
        """The answer, and each cell's verdict with its interval and number of seeds."""
        from kdsweep.verdict.text import answer_sentence, cell_sentence

        labels = self.labels or [f"cell {i}" for i in range(1, len(self.cells) + 1)]
        lines = [cell_sentence(*pair) for pair in zip(labels, self.cells, strict=True)]
        return "\n".join([answer_sentence(self), *lines])

    @property
    def pending(self) -> tuple[int, ...]:
        """Cells that need seeds for the next round; their baselines need theirs."""
        return tuple(i for i, cell in enumerate(self.cells) if cell.racing)

    @property
    def finished(self) -> bool:
        """Whether no cell goes on."""
        return not self.pending

    def count(self, verdict: Verdict) -> int:
        """Cells with a verdict."""
        return sum(cell.verdict is verdict for cell in self.cells)
