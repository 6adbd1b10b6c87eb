"""The example of a user's own configurations, by the command that its page names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Command, Sweep

CONF = REPOSITORY / "docs" / "examples" / "conf"
MINE = ("-m", "experiment=mine", "tracking=none", "train.threads=1", "train.fuse=grouped")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Sweep:
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(CONF, folder / "conf")
    asked = ("--config-dir", "conf", *MINE, "distill.temperature=2,3")
    ended = command(*asked, cwd=folder)
    assert (ended.status, ended.err) == (0, "")
    return Sweep(folder, ended)


def test_the_axes_are_the_presets_but_for_what_the_command_line_names(sweep: Sweep) -> None:
    assert [len(trial.params) for trial in sweep.trials] == [2] * 4
    distill = [sweep.record(number)["config"]["distill"] for number in range(4)]
    cells = {(one["temperature"], one["alpha"]) for one in distill}
    assert cells == {(2.0, 0.5), (2.0, 0.9), (3.0, 0.5), (3.0, 0.9)}


def test_its_pair_and_its_values_are_trained(sweep: Sweep) -> None:
    config = sweep.record(0)["config"]
    assert config["pair"]["teacher"]["width"] == 0.5
    assert config["pair"]["student"]["width"] == 0.3
    assert (config["seeds"], config["data"]["train_limit"], config["train"]["epochs"]) == (
        2,
        256,
        2,
    )
    assert (config["data"]["name"], config["schedule"]["name"]) == ("digits", "onecycle")


def test_it_is_confirmed_without_the_folder(sweep: Sweep, command: Command) -> None:
    asked = (f"study={sweep.study}", "top=1", "seeds=3")
    shutil.rmtree(sweep.folder / "conf")
    ended = command(*asked, module="kdsweep.confirm", cwd=sweep.folder)
    assert ended.status == 0, ended.err
    assert (sweep.folder / "mlruns" / "confirmations" / sweep.study / "verdict.json").is_file()


def test_without_the_folder_there_is_no_such_preset(command: Command, tmp_path: Path) -> None:
    ended = command(*MINE, cwd=tmp_path)
    assert ended.status == 2
    assert ended.err.startswith("kdsweep: experiment=mine: no such option")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        (
            "experiment/mine.yaml", "epochs: 2", "epohcs: 2",
            "experiment/mine.yaml: train.epohcs: no such key; did you mean train.epochs?",
        ),
        (
            "experiment/mine.yaml", "/pair: mine", "/pair: mime",
            "pair=mime: no such option; did you mean mine?; one of cifar_cnn, mine, ",
        ),
        (
            "experiment/mine.yaml", "distill.temperature:", "distill.temprature:",
            "distill.temprature: no such key; did you mean distill.temperature?",
        ),
        (
            "pair/mine.yaml", "width: 0.3", "width: wide",
            "pair/mine.yaml: pair.student.width=wide: allowed is a number",
        ),
        (
            "experiment/mine.yaml", "\nseeds: 2", "\n  seeds: 2",
            "{folder}/experiment/mine.yaml, line ",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_named(
    file: str, old: str, new: str, line: str, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "conf"
    shutil.copytree(CONF, folder)
    text = (folder / file).read_text()
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new))
    ended = command("--config-dir", "conf", *MINE, cwd=tmp_path)
    assert ended.status == 2
    assert ended.err.startswith(f"kdsweep: {line.format(folder=folder)}")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "mlruns" / "store").exists()
