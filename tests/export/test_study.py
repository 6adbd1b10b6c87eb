from __future__ import annotations

import csv
from pathlib import Path

import optuna
import pandas as pd
import pytest

from kdsweep.export.study import as_text, export_study
from kdsweep.results.race import Race
from kdsweep.results.record import write_record
from kdsweep.verdict import RaceDesign
from tests.results.made import record


@pytest.mark.parametrize(
    "formula", ["=cmd|' /C calc'!A0", "+1+1", "-2", "@sum", "\t=1", "\r=1", " =1", "＝1"]
)
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


def test_each_trial_has_the_verdict_of_its_cell(tmp_path: Path) -> None:
    """Two cells: the first decided by two rounds of two seeds, the second by one."""
    storage = f"sqlite:///{tmp_path}/optuna.db"
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
    choices = optuna.distributions.CategoricalDistribution((1, 4))
    rounds = [(1, 1, (80.0, 80.2)), (4, 1, (60.0, 60.2)), (1, 2, (80.1, 80.3))]
    for number, (temperature, round_, values) in enumerate(rounds):
        study.add_trial(
            optuna.trial.create_trial(
                value=sum(values) / 2,
                params={"distill.temperature": temperature},
                distributions={"distill.temperature": choices},
            )
        )
        scores = dict(enumerate(values, 2 * round_ - 2))
        point = {"distill.temperature": temperature}
        made = record(number, scores, (70.0, 70.2, 70.1), point=point, round_=round_)
        folder = tmp_path / "hydra" / "studies" / "s" / str(number)
        folder.mkdir(parents=True)
        write_record(folder, made)
    points = tuple({"distill.temperature": str(temperature)} for temperature in (1, 4))
    design = RaceDesign.create(cells=2, seeds=2, rounds=3, axes=(2,), baseline=3)
    Race(design=design, points=points).write(tmp_path / "hydra" / "studies" / "s")
    study.set_user_attr("kdsweep:adaptive", False)
    out = tmp_path / "out"
    out.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("best.yaml", "trials.csv", "study.db"):
        (out / name).symlink_to(victim)
    export_study("s", storage, root=tmp_path, out=out)
    assert victim.read_text() == "mine", "nothing is written outside of the folder"
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["cell.verdict"] for row in rows] == ["better", "worse", "better"]
    assert [row["cell.n"] for row in rows] == ["4", "2", "4"]
    assert [row["cell"] for row in rows] == ["temperature=1", "temperature=4", "temperature=1"]
    table = pd.read_parquet(out / "trials.parquet")
    for row, kept in zip(rows, table.to_dict(orient="records"), strict=True):
        low, delta, high = (kept[f"cell.{name}"] for name in ("delta_low", "delta", "delta_high"))
        assert low < delta < high
        assert float(row["cell.delta_low"]) == low
        assert (low > 0) == (kept["cell.verdict"] == "better")
