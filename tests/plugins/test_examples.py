"""The examples of docs/plugins.md, by the commands that a user types."""

from __future__ import annotations

import shutil

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
    file.write_text(file.read_text().replace("temperature**2", "temperature**1"))
    resumed = command(*SWEEP, cwd=sweep.folder)
    assert resumed.status == 2
    assert resumed.err.startswith(
        "kdsweep: study=mine: was made with another configuration (plugins.my_loss was "
    )
    assert resumed.err.count("\n") == 1
