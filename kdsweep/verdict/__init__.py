"""Statistics of the transfer verdict: pure functions over arrays, no training and no I/O."""

from kdsweep.verdict.confirm import Confirmation, confirm
from kdsweep.verdict.design import LEVEL, MARGIN, RaceDesign, Slice, baseline_seeds
from kdsweep.verdict.forecast import Forecast, forecast
from kdsweep.verdict.images import Crossed, crossed_bootstrap
from kdsweep.verdict.judge import judge, judge_rounds
from kdsweep.verdict.outcome import Average, Cell, Comparison, Outcome, Verdict
from kdsweep.verdict.text import (
    Axis,
    answer_sentence,
    average_label,
    average_sentence,
    cell_sentence,
    forecast_sentence,
    images_sentence,
    outcome_lines,
    round_sentence,
    scope_sentence,
)

__all__ = [
    "LEVEL",
    "MARGIN",
    "Average",
    "Axis",
    "Cell",
    "Comparison",
    "Confirmation",
    "Crossed",
    "Forecast",
    "Outcome",
    "RaceDesign",
    "Slice",
    "Verdict",
    "answer_sentence",
    "average_label",
    "average_sentence",
    "baseline_seeds",
    "cell_sentence",
    "confirm",
    "crossed_bootstrap",
    "forecast",
    "forecast_sentence",
    "images_sentence",
    "judge",
    "judge_rounds",
    "outcome_lines",
    "round_sentence",
    "scope_sentence",
]
