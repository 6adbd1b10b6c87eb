from __future__ import annotations

import csv
from pathlib import Path

import optuna
import pytest

from kdsweep.export.study import as_text, export_study


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+1+1", "-2", "@sum", "\t=1", "\r=1"])
def test_a_cell_is_no_formula(formula: str) -> None:
    assert as_text(formula) == f"'{formula}"
    for plain in ("hinton", "a=b", "", -2.0, 3, None):
        assert as_text(plain) is plain


def test_names_that_were_given_are_text_in_the_table(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    study = optuna.create_study(study_name="s", storage=storage)
    choices = optuna.distributions.CategoricalDistribution(("=cmd|x", "dkd"))
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL,
            params={"distill": "=cmd|x"},
            distributions={"distill": choices},
        )
    )
    export_study("s", storage, root=tmp_path, out=tmp_path / "out")
    with (tmp_path / "out" / "trials.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["param.distill"] == "'=cmd|x"
    assert row["number"] == "0"
