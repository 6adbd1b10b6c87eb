"""kdsweep in a program: what a study gives, what is left as it was, and how it says no."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

import kdsweep
from kdsweep.config.paths import conf_dir
from kdsweep.errors import KdsweepError, TrainingError, UserError
from kdsweep.library import application, overrides
from kdsweep.results.data import Cell
from kdsweep.results.judgement import ADAPTIVE, ONE_SEED
from kdsweep.results.record import Record
from kdsweep.verdict import Outcome, Verdict
from tests.sweeper.fake import baseline, studying

# The student alone, on few images: the teacher is what takes long.
SMALL = ["experiment=smoke", "distill=none", "tracking=none", "train.epochs=1",
         "data.train_limit=64", "train.threads=1"]  # fmt: skip
RATES = {"train.optimizer.lr": [0.01, 0.02]}


@dataclasses.dataclass
class Swept:
    """A sweep in this process, what it printed, and what was there before it."""

    study: kdsweep.Study
    out: str
    root: Path


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    root, out = tmp_path_factory.mktemp("swept"), io.StringIO()
    with contextlib.redirect_stdout(out):
        study = kdsweep.sweep(RATES, overrides=SMALL, seeds=2, study="rates", root=root)
    return Swept(study=study, out=out.getvalue(), root=root)


def test_a_sweep_gives_its_study(swept: Swept) -> None:
    study = swept.study
    assert study.name == "rates"
    assert isinstance(study.verdict, Outcome)
    assert [cell.n >= 2 for cell in study.verdict.cells] == [True, True]
    assert isinstance(study.cells, pd.DataFrame)
    assert list(study.cells["lr"]) == [0.01, 0.02]
    assert study.cells["val_accuracy"].between(0, 100).all()
    assert list(study.cells["state"]) == ["complete", "complete"]
    assert isinstance(study.best, Cell)
    assert study.best.values["lr"] in (0.01, 0.02)


def test_it_prints_what_the_command_prints(swept: Swept) -> None:
    assert "study rates: train.optimizer.lr, 2 of 2 trials to go" in swept.out
    printed = swept.out.splitlines()
    assert [line for line in repr(swept.study).splitlines() if line not in printed] == []
    assert "python -m kdsweep.confirm study=rates" in swept.out


def test_the_study_is_found_again_and_nothing_is_trained_twice(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    again = kdsweep.sweep(RATES, overrides=SMALL, seeds=2, study="rates", root=swept.root)
    assert "epoch 1/" not in capsys.readouterr().out
    loaded = kdsweep.load("rates", root=swept.root)
    for one in (again, loaded):
        assert one.verdict == swept.study.verdict
        assert one.cells.equals(swept.study.cells)
        assert str(one) == str(swept.study)


def test_one_experiment_gives_its_record(swept: Swept, capfd: pytest.CaptureFixture[str]) -> None:
    records = [
        kdsweep.run({"train.optimizer.lr": rate}, overrides=SMALL, root=swept.root, quiet=True)
        for rate in (0.01, 0.02)
    ]
    assert [record.config["train"]["optimizer"]["lr"] for record in records] == [0.01, 0.02]
    assert [(type(record), record.state) for record in records] == [(Record, "complete")] * 2
    pages = list((Path(swept.root) / "hydra" / "runs").rglob("report.html"))
    assert len(pages) == 2
    assert "How they learned" in pages[0].read_text(encoding="utf-8")
    assert capfd.readouterr() == ("", "")


def test_an_import_alone_is_light() -> None:
    heavy = {"torch", "hydra", "omegaconf", "optuna", "mlflow", "numpy", "pandas", "plotly"}
    code = f"import kdsweep, sys; dir(kdsweep); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_study_is_packaged(
    swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "package"
    assert swept.study.package(out, cell=1, seed="median", formats=["safetensors"]) == out
    assert f"Written: {out}\n" in capsys.readouterr().out
    about = json.loads((out / "model.json").read_text())
    assert (about["study"], about["trial"]) == ("rates", 1)
    assert swept.study.package(cell="baseline", formats="safetensors", quiet=True) == (
        swept.root / "packages" / "rates"
    )
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match=r"cell=7: no such cell; allowed is best, baseline, or"):
        swept.study.package(tmp_path / "other", cell=7)
    assert not (tmp_path / "other").exists()


def test_no_other_names() -> None:
    name = "swep"
    with pytest.raises(AttributeError, match="has no attribute 'swep'"):
        getattr(kdsweep, name)
    assert {"Study", "errors", "load", "run", "sweep"} <= set(dir(kdsweep))


@contextlib.contextmanager
def program(folder: Path) -> Iterator[None]:
    """A program with a Hydra, a log file and settings of its own, which has to keep them."""
    root = logging.getLogger()
    handler = logging.FileHandler(folder / "own.log", mode="w")
    handlers, level, threads = root.handlers.copy(), root.level, torch.get_num_threads()
    root.handlers[:] = [handler]
    root.setLevel(logging.ERROR)
    torch.set_num_threads(3)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with initialize_config_dir(str(conf_dir())):
        hydra = GlobalHydra.instance().hydra
        yield
        assert GlobalHydra.instance().hydra is hydra
        assert HydraConfig.instance().cfg is None
    assert root.handlers == [handler]
    assert root.level == logging.ERROR
    assert torch.get_num_threads() == 3
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    root.error("still open")
    assert (folder / "own.log").read_text() == "still open\n"
    handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_program_keeps_what_it_had(
    swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with program(tmp_path):
        kdsweep.sweep(RATES, overrides=SMALL, seeds=2, study="rates", root=swept.root, quiet=True)
    assert capsys.readouterr().out == ""


def test_ctrl_c_is_raised_when_all_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> list[None]:
        torch.set_num_threads(1)
        raise KeyboardInterrupt

    monkeypatch.setattr("kdsweep.sweeper.loop.launch", interrupted)
    with program(tmp_path), pytest.raises(KeyboardInterrupt):
        kdsweep.sweep(RATES, overrides=SMALL, study="rates", root=tmp_path, quiet=True)
    study = optuna.load_study(study_name="rates", storage=f"sqlite:///{tmp_path}/optuna.db")
    assert {trial.user_attrs["kdsweep:reason"] for trial in study.trials} == {"interrupted"}


REFUSED = {
    "distill.temprature": ([1, 2], r"distill.temprature: no such key; did you mean"),
    "distill.alpha": ([0.5, 1.5], r"distill.alpha=1.5: allowed is 0 to 1"),
    "train.epochs": ([], r"train.epochs=\[\]: allowed is a list with at least one value"),
    "data": ("cifar11", r"data=cifar11: no such option; did you mean cifar10"),
    "seeds": ([1, 2], r"seeds=1,2: is no axis of a sweep"),
    "train.clip_norm": ([object()], r"train.clip_norm=<object .*: is a object; allowed are"),
    "a=b": (1, r"'a=b': allowed is a key of the configuration"),
    "hydra/sweeper": ("optuna", r"hydra/sweeper=optuna: allowed is kdsweep here"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_a_refusal_is_an_error_of_one_line(tmp_path: Path, key: str) -> None:
    value, line = REFUSED[key]
    with pytest.raises(UserError, match=line) as raised:
        kdsweep.sweep({key: value}, overrides=["experiment=smoke"], root=tmp_path, quiet=True)
    assert "\n" not in str(raised.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and "store/images" not in str(p)] == []


def test_other_refusals(tmp_path: Path) -> None:
    one: Sequence[str] = "data=digits"
    with pytest.raises(UserError, match=r"overrides='data=digits': allowed is a list"):
        kdsweep.run(overrides=one)
    with pytest.raises(UserError, match=r"train.epochs=0: allowed is a number above 0"):
        kdsweep.run({"train.epochs": 0}, overrides=SMALL, root=tmp_path, quiet=True)
    with pytest.raises(UserError, match=r"optuna.db: no such database"):
        kdsweep.load("rates", root=tmp_path)


def test_an_experiment_that_fails(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is nan"):
        kdsweep.run({"train.optimizer.lr": 1e30}, overrides=SMALL, root=tmp_path, quiet=True)


def test_an_error_that_nobody_knows_is_itself() -> None:
    with pytest.raises(ZeroDivisionError), application.known_errors():
        _ = 1 / 0
    with pytest.raises(KdsweepError, match="mended") as raised, application.known_errors():
        raise UserError("mended")
    assert raised.value.__cause__ is None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> kdsweep.Study:
    """A study whose first two cells are far better and worse than the student alone."""
    folder = tmp_path_factory.mktemp("made")

    def train(point: dict[str, str]) -> dict[int, float]:
        gain = {"1": 20.0, "2": -20.0, "3": 0.0}[point["distill.temperature"]]
        first = int(point.get("seed", 0))
        return {seed: baseline(seed) + gain for seed in range(first, first + 3)}

    with studying(folder) as study:
        study.sweep(train, "distill.temperature=1,2,3", "seeds=3", "study=made")
    return kdsweep.load("made", root=folder)


def test_verdicts_are_those_of_the_records(made: kdsweep.Study) -> None:
    assert made.verdict is not None
    assert [cell.verdict for cell in made.verdict.cells[:2]] == [Verdict.BETTER, Verdict.WORSE]
    assert list(made.cells["verdict"][:2]) == ["better", "worse"]
    assert made.cells["difference"][0] == pytest.approx(20, abs=1)
    assert made.cells["low"][0] < made.cells["difference"][0] < made.cells["high"][0]
    assert made.best is not None
    assert made.best.label == "temperature=1"
    answer, *cells = str(made.verdict).splitlines()
    assert answer == made.report.verdict_lines[0]
    assert [line.partition(",")[0] for line in cells[:2]] == [
        "temperature=1: better", "temperature=2: worse",
    ]  # fmt: skip
    assert re.search(r"\+\d+\.\d\d \[\+.*\] \(round 1, n = 3\)$", cells[0])
    unnamed = dataclasses.replace(made.verdict, labels=())
    assert str(unnamed).splitlines()[1].startswith("cell 1: better")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["distill.temperature=1,2"], ONE_SEED),
        (["search=tpe", "hydra.sweeper.n_trials=2", "verdict.top=0", "seeds=2"], ADAPTIVE),
    ],
)
def test_a_study_without_a_verdict_says_why(tmp_path: Path, asked: list[str], why: str) -> None:
    with studying(tmp_path) as study:
        study.sweep(lambda _: baseline(0), "study=made", *asked)
    loaded = kdsweep.load("made", root=tmp_path)
    assert loaded.verdict is None
    assert loaded.report.verdict_lines == (why,)


def test_pictures_by_name(made: kdsweep.Study) -> None:
    assert made.figures[:2] == ("race", "forest")
    assert [made.figure(name).name for name in made.figures] == list(made.figures)
    assert "temperature=1" in made.figure("forest")._repr_svg_()
    with pytest.raises(UserError, match=r"^figure=pie: allowed is one of race, forest, "):
        made.figure("pie")
    with pytest.raises(UserError, match=r"^figure=map: allowed is one of race, .*two axes"):
        made.figure("map")


def test_a_notebook_shows_the_table(made: kdsweep.Study) -> None:
    page = made._repr_html_()
    assert page.count("<table") == 1
    assert "▲ better</td>" in page
    assert "temperature=1 *" in page
    assert "<html" not in page


def test_a_report_and_an_export_elsewhere(
    made: kdsweep.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.save_report(tmp_path / "report") == tmp_path / "report" / "report.html"
    written = made.export(tmp_path / "files")
    assert tmp_path / "files" / "trials.csv" in written
    assert f"{tmp_path}/files/trials.csv: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"top": 0}, "top=0: allowed is a whole number from 1"),
        ({"seeds": 2}, "seeds=2: allowed is a whole number from 3"),
        ({"side": "left"}, "side=left: allowed is best, worst, both"),
    ],
)
def test_a_confirmation_is_checked(made: kdsweep.Study, asked: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        made.confirm(**asked)


VALUES: list[tuple[object, str]] = [
    (3, "3"),
    (0.5, "0.5"),
    (1e-5, "1e-05"),
    (True, "true"),
    (None, "null"),
    ("hinton", "hinton"),
    ("true", "'true'"),
    ("it's 3, no?", r"'it\'s 3, no?'"),
    (Path("a b/c"), "'a b/c'"),
    ([150, 180.5], "[150,180.5]"),
    ({"name": "linear", "end": 1}, "{name:linear,end:1}"),
    (np.float32(0.5), "0.5"),
    (np.array([1, 2]), "[1,2]"),
]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=[text for _, text in VALUES])
def test_a_value_is_what_hydra_reads(value: object, text: str) -> None:
    (override,) = overrides.fixed({"key": value})
    assert override == f"key={text}"
    (parsed,) = OverridesParser.create().parse_overrides([override])
    read = parsed.value()
    plain = value.tolist() if isinstance(value, np.ndarray) else value
    assert str(read) == str(plain)


def test_a_list_is_an_axis() -> None:
    assert overrides.axes(
        {
            "distill": ["hinton", "dkd"],
            "distill.temperature": range(1, 4),
            "distill.alpha": np.linspace(0, 1, 3),
            "train.epochs": "range(10,40,10)",
            "schedule.milestones": [[1, 2], [3]],
            "data.root": [Path("my flowers")],
            "train.clip_norm": 1,
        }
    ) == [
        "distill=hinton,dkd",
        "distill.temperature=1,2,3",
        "distill.alpha=0.0,0.5,1.0",
        "train.epochs=range(10,40,10)",
        "schedule.milestones=[1,2],[3]",
        "data.root='my flowers'",
        "train.clip_norm=1",
    ]


SCRIPT = """
import kdsweep

study = kdsweep.sweep(
    {"train.optimizer.lr": [0.01, 0.02]}, overrides=OVERRIDES, seeds=1, study="script"
)
print("cells:", len(study.cells), study.verdict)
"""


def test_a_script_needs_no_guard_although_workers_train(repository: Path, tmp_path: Path) -> None:
    given = [*SMALL[:-1], "train.fuse=workers", "train.threads=2"]
    (tmp_path / "script.py").write_text(SCRIPT.replace("OVERRIDES", repr(given)))
    done = subprocess.run(
        [sys.executable, "script.py", "an argument of its own"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("cells: 2 None") == 1
    assert done.stdout.count("baseline cifar_student x 4: epoch 1/1") == 1


EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
for cell in notebook.cells:
    small = '"experiment=smoke", "train.epochs=1", "train.threads=1", "rounds=1"'
    cell.source = cell.source.replace('"experiment=quickstart"', small)
NotebookClient(notebook, resources={"metadata": {"path": "."}}).execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        print(output.output_type, *output.get("data", {}), output.get("text", ""))
"""


def test_the_notebook_of_the_documentation_runs(repository: Path, tmp_path: Path) -> None:
    notebook = repository / "docs" / "examples" / "notebook.ipynb"
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(notebook)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    study, cells, picture, verdict, best = done.stdout.splitlines()
    assert {"text/html", "text/plain"} <= set(study.split()) & set(cells.split())
    assert "image/svg+xml" in picture.split()
    assert "text/plain" in verdict.split()
    assert "text/plain" in best.split()


TYPED = """
from typing import assert_type

import kdsweep
from kdsweep.results.data import Cell
from kdsweep.results.record import Record
from kdsweep.verdict import Confirmation, Outcome

study = kdsweep.sweep({"distill.temperature": [1, 2]}, overrides=["data=digits"], seeds=3)
assert_type(study, kdsweep.Study)
assert_type(study.verdict, Outcome | None)
assert_type(study.best, Cell | None)
assert_type(study.confirm(top=1), Confirmation)
assert_type(kdsweep.load("name"), kdsweep.Study)
assert_type(kdsweep.run({"train.epochs": 1}), Record)
assert_type(kdsweep.__version__, str)
study.confirm(side="left")
kdsweep.sweeep({})
study.verdict.cells
"""


SETTINGS = """
[mypy]
strict = true
[mypy-torch.*,torchvision.*,optuna.*,mlflow.*,hydra.*,omegaconf.*,sklearn.*,rich.*,scipy.*,numpy.*]
follow_imports = skip
[mypy-sqlalchemy.*,PIL.*,timm.*,jinja2.*,requests.*,pandas.*]
follow_imports = skip
"""


def test_a_users_program_is_typed(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(TYPED)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-incremental", "user.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = len(TYPED.splitlines())
    assert [line.split(" ", 1)[0] for line in done.stdout.splitlines()[:-1]] == [
        f"user.py:{line}:" for line in (last - 2, last - 1, last)
    ], done.stdout
