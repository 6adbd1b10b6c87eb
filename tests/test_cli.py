"""What a user who asks for the impossible reads: one line; the status, and what is left."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.cli import main
from kdsweep.config import ModelConfig
from kdsweep.errors import KdsweepError
from kdsweep.models import create_model
from kdsweep.sweeper import loop
from tests.conftest import Command, Ended

SMOKE = "experiment=smoke"
Run = Callable[..., Ended]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """kdsweep's command line in this process, in an empty folder: no import to wait for."""
    root, threads = logging.getLogger(), torch.get_num_threads()
    level, handlers = root.level, root.handlers.copy()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["kdsweep", "train.threads=1", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(status=ended.value.code, out=said.out, err=said.err)

    yield run
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)


def one_line(ended: Ended, *, status: int) -> str:
    """What was said; the first word is the program's."""
    assert ended.status == status, ended
    assert ended.err.startswith("kdsweep: ")
    assert ended.err.count("\n") == 1
    return ended.err.removeprefix("kdsweep: ").rstrip("\n")


def left() -> list[str]:
    """The files under the working folder, but for decoded images, which are kept for next time."""
    paths = [str(path.relative_to(Path.cwd())) for path in Path.cwd().rglob("*") if path.is_file()]
    return [path for path in paths if not path.startswith("mlruns/store/images")]


ASKED = {
    "=3": r"=3: has no key; write key=value",
    "data=": r"data=: no such option; one of arrays, cifar10, cifar100, digits, hug",
    "data=null": r"data=null: allowed is one of arrays, cifar10, cifar100, digits, hug",
    "data=cifar11": r"data=cifar11: no such option; did you mean cifar10\?; one of arrays",
    "dta=digits": r"dta: no such .* did you mean data\?",
    "distill.temprature=3": r"distill.temprature: no such key; did you mean distill.temperature\?",
    "train.epochs=many": r"train.epochs=many: allowed is a whole number",
    "distill.temperature=hot": r"distill.temperature=hot: allowed is a number",
    "distill.temperature=0": r"distill.temperature=0.0: allowed is 0.001 to 1,000",
    "distill.alpha=1.5": r"distill.alpha=1.5: allowed is 0 to 1",
    "pair.student.name=resnet9": r"pair\.student\.name=resnet9: no such model; did you mean resn",
    "pair.teacher.name=resnet9": r"pair\.teacher\.name=resnet9: no such model; did you mean resn",
    "tracking=server": r"tracking.uri=None: allowed is the server's address",
    "teacher.checkpoint=none.pt": r"teacher.checkpoint=none.pt: no such file",
    "hydra.job.chdir=true": r"hydra.job.chdir=true: allowed is false",
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("mode", ["single", "sweep"])
def test_one_line_says_what_is_allowed(run: Run, mode: str, asked: str) -> None:
    sweep = ("-m", "train.clip_norm=1,2") if mode == "sweep" else ()
    line = one_line(run(SMOKE, *sweep, asked), status=2)
    assert re.match(ASKED[asked], line), line
    assert left() == []


def test_the_last_cell_of_a_grid_is_checked_first(run: Run) -> None:
    line = one_line(run("-m", SMOKE, "distill.temperature=1,2,0"), status=2)
    assert line.startswith("distill.temperature=0.0")
    assert left() == []


def test_a_list_without_m_is_no_sweep(run: Run) -> None:
    line = one_line(run(SMOKE, "distill.temperature=1,2"), status=2)
    assert line == "distill.temperature=1,2: several values are a sweep; add -m"


def pictures(folder: Path, *, train: list[str], test: list[str]) -> None:
    noise = np.random.default_rng(0)
    for part, classes in (("train", train), ("test", test)):
        (folder / part).mkdir(parents=True)
        for name in classes:
            (folder / part / name).mkdir()
            for i in range(3):
                pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")


def test_an_image_folder_without_images(run: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "flowers", train=[], test=["rose"])
    line = one_line(run("data=imagefolder", f"data.root={tmp_path}/flowers"), status=2)
    assert line.startswith(f"data.root={tmp_path}/flowers: ")
    assert line.endswith("images go to train/<class>/")
    (tmp_path / "flowers" / "train" / "rose").mkdir()
    line = one_line(run("data=imagefolder", f"data.root={tmp_path}/flowers"), status=2)
    assert "rose has no images" in line
    assert left() == []


def test_a_class_that_is_missing_from_test(run: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "flowers", train=["rose", "lily"], test=["rose"])
    line = one_line(run("-m", "data=imagefolder", f"data.root={tmp_path}/flowers"), status=2)
    assert "in train have no folder in test (lily)" in line
    assert left() == []


def checkpoint(path: Path, name: str, classes: int, width: float = 1.0) -> Path:
    torch.manual_seed(0)
    model = create_model(ModelConfig(name=name, width=width), classes=classes, image_size=32)
    torch.save(model.state_dict(), path)
    return path


QUIET = "tracking=none"


@pytest.mark.parametrize("sweep", [(), ("-m", "distill.temperature=1,2")])
def test_a_teacher_of_another_architecture(
    run: Run, tmp_path: Path, sweep: tuple[str, ...]
) -> None:
    path = checkpoint(tmp_path / "teacher.pt", "resnet20", 10)
    line = one_line(run(SMOKE, f"teacher.checkpoint={path}", *sweep), status=2)
    assert line.startswith(f"teacher.checkpoint={path}: ")
    assert line.endswith("it is of another architecture")
    assert left() == []


def test_a_teacher_of_other_classes(run: Run, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "teacher.pt", "cifar_student", 7, width=0.5)
    line = one_line(run(SMOKE, QUIET, f"teacher.checkpoint={path}"), status=2)
    assert line.endswith("the file is for 7 classes, the data has 10")


@pytest.mark.parametrize("sweep", [(), ("-m", "distill.temperature=1,2")])
def test_an_untrained_teacher(run: Run, tmp_path: Path, sweep: tuple[str, ...]) -> None:
    path = checkpoint(tmp_path / "teacher.pt", "cifar_student", 10, width=0.5)
    line = one_line(run(SMOKE, QUIET, f"teacher.checkpoint={path}", *sweep), status=2)
    assert "no better than guessing (10.00 %): an untrained teacher can't teach" in line
    assert not [path for path in left() if path.endswith(("result.json", "student-seed0.bits"))]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("distill=fitnet", "distill.temperature=1,2"),
            "distill.temperature=1,2: changes nothing with fitnet, so these cells would be equal",
        ),
        (
            ("distill=none", "distill.alpha=0.3,0.7"),
            "distill.alpha=0.3,0.7: changes nothing with no distillation",
        ),
    ],
)
def test_an_axis_that_changes_nothing(run: Run, arguments: tuple[str, ...], said: str) -> None:
    line = one_line(run("-m", SMOKE, *arguments), status=2)
    assert line.startswith(said)
    assert left() == []


def test_a_file_where_the_output_should_go(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for sweep in ((), ("-m", "train.clip_norm=1,2")):
        line = one_line(run(SMOKE, QUIET, f"root={tmp_path}/file", *sweep), status=2)
        assert f"{tmp_path}/file" in line
        assert "choose another folder with root=..." in line or "name another" in line
    assert (tmp_path / "file").read_text() == "mine"
    assert left() == []


def test_a_loss_that_is_no_number_ends_with_status_1(run: Run) -> None:
    ended = run(SMOKE, QUIET, "data.train_limit=64", "train.optimizer.lr=1e30")
    line = one_line(ended, status=1)
    assert "could not be trained: the loss is nan" in line
    assert "lower train.optimizer.lr" in line
    assert not [path for path in left() if path.endswith(".safetensors")]


def test_a_traceback_only_when_asked_for(command: Command, tmp_path: Path) -> None:
    asked = (SMOKE, "distill.temperature=0")
    short = command(*asked, cwd=tmp_path)
    assert one_line(short, status=2) == "distill.temperature=0.0: allowed is 0.001 to 1,000"
    whole = command(*asked, cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"})
    assert whole.status == 1
    assert "Traceback" in whole.err
    assert "UserError: distill.temperature=0.0" in whole.err


def test_a_report_that_fails_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(*_: object, **__: object) -> None:
        raise KdsweepError("the report could not be made")

    monkeypatch.setattr(loop, "report_study", report)
    short = (
        "distill=none",
        "data.train_limit=64",
        "train.epochs=1",
        "train.optimizer.lr=1e-3,2e-3",
    )
    line = one_line(run("-m", SMOKE, QUIET, *short), status=1)
    assert line == "the report could not be made"


REPORT = "mlruns/hydra/studies/rates/report.html"
RATES = (
    "-m", SMOKE, QUIET, "study=rates", "data.train_limit=256", "train.epochs=1",
    "train.threads=1", "teacher.lr=1e-3", "train.optimizer.lr=1e-3,1e25",
)  # fmt: skip


def test_the_status_tells_that_a_trial_failed_although_another_did_not(
    command: Command, tmp_path: Path
) -> None:
    ended = command(*RATES, cwd=tmp_path)
    line = one_line(ended, status=1)
    assert re.match(r"1 trials? of study rates failed; the first: the baseline could not", line)
    assert "1 complete, 1 failed" in (tmp_path / REPORT).read_text()
    assert re.search(r"^lr=0\.001 .*\d\.\d\d", ended.out, re.MULTILINE), ended.out


def test_a_sweep_without_a_failure_ends_with_status_0(command: Command, tmp_path: Path) -> None:
    sound = (*RATES[:-1], "train.optimizer.lr=1e-3,2e-3")
    for _ in range(2):  # also where nothing is left to do
        ended = command(*sound, cwd=tmp_path)
        assert (ended.status, ended.err) == (0, "")
