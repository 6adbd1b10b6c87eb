from __future__ import annotations

from kdsweep.config import Config, TrackingConfig
from kdsweep.report import series
from kdsweep.results.data import notes
from kdsweep.results.summary import summarise, unit_of
from kdsweep.sweep.reporting import next_commands
from tests.results.test_judgement import BASE, record


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
    from kdsweep.run.records import metric_name

    assert all(unit_of(metric_name(name, "val")) for name in OBJECTIVES)
    assert unit_of("val_nll") == "nats"


def test_different_teachers_are_told_and_none_is_shown_as_everyones() -> None:
    records = [record(trial, {0: 70.0}, BASE) for trial in range(3)]
    for made, (key, accuracy) in zip(
        records, [("a", 80.0), ("b", 85.0), ("a", 80.0)], strict=True
    ):
        made["teacher"] = {
            "key": key, "name": f"net-{key}", "seed": 0, "metrics": {"val_accuracy": accuracy},
            "costs": {"parameters": 1.0, "size_mib": 1.0},
        }  # fmt: skip
    sweep = summarise("s", records)
    assert sweep.teacher is None
    assert [model.label for model in sweep.teachers] == ["net-a", "net-b"]
    assert any("2 teachers taught different cells (net-a 80.00" in line for line in notes(sweep))
    same = summarise("s", [records[0], records[2]])
    assert same.teacher is not None
    assert any("One teacher was used" in line for line in notes(same))


def test_commands_name_what_is_not_the_default() -> None:
    plain = TrackingConfig(backend="none")
    usual = next_commands("s", Config(tracking=plain), [])
    assert usual["Export the study"] == "python -m kdsweep.export study=s"
    config = Config(
        tracking=plain, root="my runs", storage="postgresql+psycopg2://me:secret@host/db"
    )
    for command in next_commands("s", config, []).values():
        assert "study=s 'root=my runs'" in command
        assert "storage=postgresql+psycopg2://me:***@host/db" in command
