"""Statistics of the transfer verdict: pure functions over arrays, no training and no I/O."""

from kdsweep.verdict.confirm import Confirmation, confirm
from kdsweep.verdict.images import Crossed, McNemar, crossed_bootstrap, mcnemar
from kdsweep.verdict.luck import expected_luck
from kdsweep.verdict.maps import LEVEL, MARGIN, blocked_map, independent_map
from kdsweep.verdict.outcome import Cell, Design, Outcome, Verdict
from kdsweep.verdict.text import cell_sentence, outcome_sentence

__all__ = [
    "LEVEL",
    "MARGIN",
    "Cell",
    "Confirmation",
    "Crossed",
    "Design",
    "McNemar",
    "Outcome",
    "Verdict",
    "blocked_map",
    "cell_sentence",
    "confirm",
    "crossed_bootstrap",
    "expected_luck",
    "independent_map",
    "mcnemar",
    "outcome_sentence",
]
