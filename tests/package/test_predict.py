"""``python -m kdsweep.predict``, and what it says of what it can't read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kdsweep import predict
from kdsweep.errors import UserError
from kdsweep.package.classifier import answer
from kdsweep.package.formats import FORMATS
from tests.conftest import Command


def test_the_command_prints_a_line_for_each_picture_and_stops_at_a_bad_one(
    package: Path, pictures: list[Path], command: Command
) -> None:
    folder = pictures[0].parent
    (folder / "bad.png").write_text("no picture")
    names = [path.name for path in pictures[:2]]
    given = (f"model={package}", *names, "bad.png")
    ended = command(*given, cwd=folder, module="kdsweep.predict")
    assert [line.partition(":")[0] for line in ended.out.splitlines()] == names
    assert ended.status == 2
    assert ended.err.startswith("kdsweep: bad.png: is no readable picture (cannot identify")
    assert len(ended.err.splitlines()) == 1


def test_every_file_gives_the_same_classes(
    package: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    said = set()
    for model in (package, *(package / one.file for one in FORMATS.values())):
        predict.main([f"model={model}", *map(str, pictures)])
        said.add(capsys.readouterr().out)
    assert len(said) == 1


def test_the_probability_is_the_softmax() -> None:
    logits = np.array([1000.0, 1001.0, 999.0], dtype=np.float32)
    assert 1 / (1 + np.exp(-1) + np.exp(-2)) == pytest.approx(0.6652, abs=1e-4)
    assert answer("a.png", logits, ("x", "y", "z")) == "a.png: y (66.5%)"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["{p}/a.png"], r"^model=: name a package's folder"),
        (["model={p}"], r"^model=.*: name one picture or more behind it"),
        (
            ["model={t}", "a.png"],
            r"^model=.*: holds none of model.safetensors, model.onnx, model.p",
        ),
        (["model={t}/gone.onnx", "a.png"], r"gone.onnx: no such file$"),
        (
            ["model={t}/gone.h5", "a.png"],
            r"gone.h5: allowed is a package's folder, or a file \*\.s",
        ),
        (["model={p}", "gone.png"], r"^gone.png: is no readable picture \(No such file or direct"),
        (["modle={p}", "a.png"], r"^modle=.*: allowed are model=, plugins=; did you mean model="),
        (["model={p}/README.md", "a.png"], r"README.md: allowed is"),
    ],
)
def test_bad_input_ends_in_one_line(
    package: Path, tmp_path: Path, given: list[str], line: str
) -> None:
    with pytest.raises(UserError, match=line):
        predict.main([one.format(p=package, t=tmp_path) for one in given])


@pytest.mark.parametrize("name", [one.file for one in FORMATS.values()])
@pytest.mark.parametrize("content", [b"", b"\xff" * 300])
def test_a_damaged_model_is_named(
    package: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"^model=.*/{name}: can't be read as a model that kdsw"):
        predict.main([f"model={tmp_path / name}", "a.png"])


def test_a_model_of_another_make_is_named(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"x\.safetensors: can't be read as a model that kdsweep"):
        predict.main([f"model={tmp_path / 'x.safetensors'}", "a.png"])
