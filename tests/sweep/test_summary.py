from __future__ import annotations

from kdsweep.report import series
from kdsweep.sweep.summary import summarise, unit_of
from tests.sweep.test_judgement import BASE, record


def test_two_numeric_axes_make_a_map() -> None:
    records = []
    for trial, (temperature, alpha) in enumerate([(1, 0.1), (1, 0.9), (2, 0.1), (2, 0.9)]):
        made = record(trial, {0: 70.0 + trial}, BASE)
        made["overrides"] = [f"distill.temperature={temperature}", f"distill.alpha={alpha}"]
        records.append(made)
    sweep = summarise("s", records)
    assert [cell.label for cell in sweep.cells][1] == "temperature=1 alpha=0.9"
    grid = series.grid(sweep)
    assert grid is not None
    assert {grid.x_key, grid.y_key} == {"temperature", "alpha"}
    gaps = dict(zip([(0.1, 1), (0.9, 1), (0.1, 2), (0.9, 2)], [0.0, 1.0, 2.0, 3.0], strict=True))
    for row, y in enumerate(grid.y):
        for column, x in enumerate(grid.x):
            alpha, temperature = (x, y) if grid.x_key == "alpha" else (y, x)
            assert grid.difference[row][column] == gaps[(alpha, temperature)]


def test_an_axis_of_names_makes_none() -> None:
    records = []
    for trial, (loss, alpha) in enumerate([("dkd", 0.1), ("dkd", 0.9), ("dist", 0.1)]):
        made = record(trial, {0: 70.0 + trial}, BASE)
        made["overrides"] = [f"distill={loss}", f"distill.alpha={alpha}"]
        records.append(made)
    assert series.grid(summarise("s", records)) is None


def test_every_objective_has_a_unit() -> None:
    from kdsweep.config import OBJECTIVES
    from kdsweep.records import metric_name

    assert all(unit_of(metric_name(name, "val")) for name in OBJECTIVES)
    assert unit_of("val_nll") == "nats"
