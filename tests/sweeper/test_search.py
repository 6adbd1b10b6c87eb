"""Optuna's pictures of a study in its report."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from kdsweep.errors import UserError
from kdsweep.sweeper.search import search_figures


def study(
    folder: Path, directions: list[str], parameters: int, trials: int = 4, step: float = 1.0
) -> str:
    """A study in a database, its objective ``step`` times the first parameter; the address."""
    url = f"sqlite:///{folder / 'optuna.db'}"
    made = optuna.create_study(study_name="s", storage=url, directions=directions)
    names = [f"distill.p{i}" for i in range(parameters)]
    numbers = list(range(trials))
    kind = optuna.distributions.CategoricalDistribution(numbers)
    for number in numbers:
        made.add_trial(
            optuna.trial.create_trial(
                params={name: (number * (i + 1)) % trials for i, name in enumerate(names)},
                distributions=dict.fromkeys(names, kind),
                values=[step * number] * len(directions),
            )
        )
    return url


@pytest.mark.parametrize("directions", [["maximize"], ["minimize"], ["maximize", "minimize"]])
def test_two_parameters_make_four_pictures(tmp_path: Path, directions: list[str]) -> None:
    found = search_figures("s", study(tmp_path, directions, parameters=2))
    assert [one.key for one in found] == [
        "search_history",
        "search_slice",
        "search_importance",
        "search_contour",
    ]
    assert all(json.loads(one.json)["data"] for one in found)
    assert found[0].csv.splitlines()[:3] == [
        "trial,distill.p0,distill.p1,objective",
        "0,0,0,0.0",
        "1,1,2,1.0",
    ]


def test_trials_that_score_alike_make_them_without_a_warning(tmp_path: Path) -> None:
    found = search_figures("s", study(tmp_path, ["maximize"], parameters=2, step=0.0))
    assert "search_importance" in [one.key for one in found]


def test_one_parameter_has_no_rival_and_no_pair(tmp_path: Path) -> None:
    found = search_figures("s", study(tmp_path, ["maximize"], parameters=1))
    assert [one.key for one in found] == ["search_history", "search_slice"]


def test_too_few_trials_show_nothing(tmp_path: Path) -> None:
    assert search_figures("s", study(tmp_path, ["maximize"], parameters=2, trials=2)) == []


def test_no_such_study(tmp_path: Path) -> None:
    url = study(tmp_path, ["maximize"], parameters=1)
    with pytest.raises(UserError, match="study=t: not in"):
        search_figures("t", url)
