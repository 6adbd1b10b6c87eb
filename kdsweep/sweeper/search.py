"""Optuna's own pictures of a study: what mattered, where it looked, how it went."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdsweep.report.chart import csv_text
from kdsweep.report.html import Extra
from kdsweep.sweeper.opening import load_study

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_NEEDED = 3  # complete trials, for a picture to show anything


def search_figures(name: str, storage: str) -> list[Extra]:
    """Importance, slices, contours and history of a study's first objective, as far as there are.

    Raises:
        UserError: there is no such study.
    """
    from optuna import visualization

    study = load_study(name, storage)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = _varied(trials)
    if len(trials) < _NEEDED or not varied:
        return []
    objective = (study.metric_names or ["objective"])[0]
    data = _csv(trials, varied, objective)

    single = len(study.directions) == 1
    sign = 1 if study.directions[0] == StudyDirection.MINIMIZE else -1

    def first(trial: FrozenTrial) -> float:
        return float(trial.values[0])

    def less_is_better(trial: FrozenTrial) -> float:
        return sign * first(trial)

    def make(key: str, title: str, caption: str, draw: Callable[[], Figure]) -> Extra:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message="PedAnova")  # less is better: it is seen to
            warnings.filterwarnings("ignore", message="Target and region")  # all alike: drawn so
            figure = draw().update_layout(title=None, template=None, margin_t=30)
        return Extra(key=key, title=title, caption=caption, json=figure.to_json(), csv=data)

    target = None if single else first
    importance = optuna.importance.PedAnovaImportanceEvaluator()
    found = [
        make(
            "search_history", "Every trial in its order", "The objective of each trial, and the "
            "best so far, which is partly luck.",
            lambda: visualization.plot_optimization_history(
                study, target=target, target_name=objective
            ),
        ),
        make(
            "search_slice", "Each parameter alone", "A point for each trial.",
            lambda: visualization.plot_slice(
                study, params=varied, target=target, target_name=objective
            ),
        ),
    ]  # fmt: skip
    if len(varied) > 1:
        found += [
            make(
                "search_importance", "What mattered", "How much of what sets the better trials "
                "apart is each parameter's (PED-ANOVA).",
                lambda: visualization.plot_param_importances(
                    study, evaluator=importance, params=varied, target_name=objective,
                    target=None if single else less_is_better,
                ),
            ),
            make(
                "search_contour", "Two parameters at a time", "Between the trials it is "
                "interpolated.",
                lambda: visualization.plot_contour(
                    study, params=varied, target=target, target_name=objective
                ),
            ),
        ]  # fmt: skip
    return found


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Parameters of all trials that had more than one value."""
    names = [set(trial.params) for trial in trials]
    common = set.intersection(*names) if names else set()
    return sorted(n for n in common if len({repr(trial.params[n]) for trial in trials}) > 1)


def _csv(trials: Sequence[FrozenTrial], names: Sequence[str], objective: str) -> str:
    heads = ["trial", *names, objective]
    return csv_text(
        [heads, *([t.number, *(t.params[name] for name in names), t.values[0]] for t in trials)]
    )
