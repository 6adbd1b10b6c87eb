"""Statistics of the transfer verdict: pure functions over arrays, no training and no I/O."""

from kdsweep.verdict.confirm import Confirmation, confirm
from kdsweep.verdict.design import LEVEL, MARGIN, Place, RaceDesign, baseline_seeds
from kdsweep.verdict.images import Crossed, crossed_bootstrap
from kdsweep.verdict.judge import judge
from kdsweep.verdict.outcome import Average, Cell, Outcome, Verdict

__all__ = [
    "LEVEL",
    "MARGIN",
    "Average",
    "Cell",
    "Confirmation",
    "Crossed",
    "Outcome",
    "Place",
    "RaceDesign",
    "Verdict",
    "baseline_seeds",
    "confirm",
    "crossed_bootstrap",
    "judge",
]
