"""The examples of docs/plugins.md, by the commands that a user types."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Command, Sweep

EXAMPLES = sorted((REPOSITORY / "docs" / "examples").glob("my_*.py"))
SWEEP = (
    *("-m", "experiment=smoke", "tracking=none", "train.threads=1", "train.fuse=grouped"),
    *("seeds=2", "rounds=1", "study=mine", "plugins=[my_model,my_loss,my_feature_loss]"),
    *("pair.student.name=my_cnn", "pair.student.width=1", "pair.student.kwargs.depth=2"),
    *("distill=none", "distill.alpha=0.5", "distill.temperature=2"),
    *("distill.losses.js.share=0.3,0.5", "distill.losses.gram.power=2"),
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Sweep:
    folder = tmp_path_factory.mktemp("examples")
    for example in EXAMPLES:
        shutil.copy(example, folder)
    ended = command(*SWEEP, cwd=folder)
    assert ended.status == 0, ended.err
    return Sweep(folder, ended)


def test_all_are_short_and_there() -> None:
    assert [example.stem for example in EXAMPLES] == ["my_feature_loss", "my_loss", "my_model"]
    for example in EXAMPLES:
        assert len(example.read_text().splitlines()) < 30


def test_cells_differ_in_an_option_and_train_as_one_network(sweep: Sweep) -> None:
    assert "student my_cnn x 4" in sweep.ended.out
    assert "one by one" not in sweep.ended.out
    assert "one after another" not in sweep.ended.out
    records = [sweep.record(number) for number in (0, 1)]
    assert [r["config"]["distill"]["losses"]["js"]["share"] for r in records] == [0.3, 0.5]
    assert records[0]["values"] != records[1]["values"]
    for record in records:
        assert set(record["config"]["plugins"]) == {example.name for example in EXAMPLES}
        assert record["costs"]["parameters"] == 3 * 16 * 9 + 16 * 16 * 9 + 4 * 16 + 170
        assert all(
            seed["metrics"]["adapter_parameters"] == 272 for seed in record["seeds"].values()
        )


def test_it_is_confirmed_and_exported(sweep: Sweep, command: Command) -> None:
    confirmed = command(
        "study=mine", "top=1", "seeds=3", module="kdsweep.confirm", cwd=sweep.folder
    )
    assert confirmed.status == 0, confirmed.err
    exported = command("study=mine", "out=out", module="kdsweep.export", cwd=sweep.folder)
    assert exported.status == 0, exported.err
    best = (sweep.folder / "out" / "best.yaml").read_text()
    assert f"my_loss.py: {sweep.record(0)['config']['plugins']['my_loss.py']}" in best


def test_an_edited_plugin_is_not_mixed_with_old_results(sweep: Sweep, command: Command) -> None:
    file = sweep.folder / "my_loss.py"
    before = file.read_text()
    file.write_text(before.replace("temperature**2", "temperature**1"))
    try:
        resumed = command(*SWEEP, cwd=sweep.folder)
        confirmed = command("study=mine", "again=true", module="kdsweep.confirm", cwd=sweep.folder)
    finally:
        file.write_text(before)
    for ended, line in (
        (resumed, "study=mine: was made with another configuration (plugins.my_loss was "),
        (confirmed, "plugins=my_loss.py: is not what it was (the hash of its source was "),
    ):
        assert ended.status == 2
        assert ended.err.startswith(f"kdsweep: {line}")
        assert ended.err.count("\n") == 1
    record = json.loads((sweep.job(0) / "result.json").read_text())
    assert record == sweep.record(0)


def test_a_file_by_its_path_is_found_from_anywhere(tmp_path: Path, command: Command) -> None:
    paths = ",".join(str(example) for example in EXAMPLES)
    ended = command(
        "experiment=smoke", f"plugins=[{paths}]", "pair.student.name=my_cnn",
        "pair.student.width=1", "pair.student.kwargs.dept=3", cwd=tmp_path,
    )  # fmt: skip
    assert ended.status == 2
    assert ended.err == (
        "kdsweep: pair.student.kwargs.dept=3: allowed arguments of my_cnn are depth, channels; "
        "did you mean depth?\n"
    )
