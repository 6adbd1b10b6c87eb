"""A package of a user's own architecture, whose code is in none of the files."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from kdsweep import plugins
from kdsweep.config import ModelConfig, PairConfig
from kdsweep.errors import UserError
from kdsweep.models.registry import ARCHITECTURES, register_model
from kdsweep.package.build import prepare, write_package
from kdsweep.package.command import package_study
from kdsweep.package.formats import formats_of, open_model
from tests.conftest import REPOSITORY, Command, Ended, forgetting_plugins
from tests.package.made import MadeStudy

NAME = "handover_net"


def handover_net(classes: int, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(4 * channels, classes),
    )  # fmt: skip


def test_where_the_code_is_missing_the_graph_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_model(NAME)(handover_net)
    own = ModelConfig(name=NAME, kwargs={"channels": 6})
    made = MadeStudy(tmp_path / "mlruns", pair=PairConfig(student=own))
    out = tmp_path / "package"
    prepared = prepare("s", root=made.root, cell="best", seed="best")
    write_package(prepared, out, formats_of("safetensors,export"))
    images = np.ascontiguousarray(made.dataset.host.val.images.numpy())
    here = open_model(out / "model.safetensors")
    assert here.manifest.plugin == __name__
    assert here.manifest.kwargs == {"channels": 6}

    known = {name: ARCHITECTURES[name] for name in ARCHITECTURES if name != NAME}
    monkeypatch.setattr(ARCHITECTURES, "_entries", known)
    there = open_model(out)
    assert there.manifest == here.manifest
    assert np.allclose(there.logits(images), here.logits(images), atol=1e-4)
    with pytest.raises(
        UserError, match=rf"a user's own, .*give plugins=\[{__name__}\]; or .*model\.pt2 or model"
    ):
        open_model(out / "model.safetensors")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin, and a package of its model in two formats."""
    folder = tmp_path_factory.mktemp("mine")
    shutil.copy(REPOSITORY / "docs" / "examples" / "my_model.py", folder / "predicted_model.py")
    with contextlib.chdir(folder), forgetting_plugins():
        plugins.load(["predicted_model"])
        own = ModelConfig(name="my_cnn", kwargs={"depth": 1})
        MadeStudy(folder / "mlruns", pair=PairConfig(student=own))
        package_study(
            "s", root=folder / "mlruns", out=folder / "package", formats="safetensors,export"
        )
    return folder


def predict(command: Command, folder: Path, *given: str) -> Ended:
    return command(*given, "package/sample.png", cwd=folder, module="kdsweep.predict")


def test_the_weights_answer_where_the_plugin_is_at_hand(mine: Path, command: Command) -> None:
    graph = predict(command, mine, "model=package")
    assert re.fullmatch(r"package/sample\.png: \d \(\d+\.\d%\)\n", graph.out)
    for names in ("[predicted_model]", "predicted_model.py"):
        ended = predict(command, mine, "model=package/model.safetensors", f"plugins={names}")
        assert (ended.err, ended.out) == ("", graph.out)
    missing = predict(command, mine, "model=package/model.safetensors")
    assert missing.status == 2
    assert "no plugin here has my_cnn: give plugins=[predicted_model]; or give" in missing.err
    wrong = predict(command, mine, "model=package", "plugins=[predicted_modl]")
    assert wrong.err.startswith("kdsweep: plugins=predicted_modl: no module of that name")
    assert "did you mean predicted_model?" in wrong.err


def test_weights_do_not_answer_through_another_source(
    mine: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copytree(mine, tmp_path / "copy")
    file = tmp_path / "copy" / "predicted_model.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.Tanh()"))
    given = ("model=package/model.safetensors", "plugins=[predicted_model]")
    ended = predict(command, tmp_path / "copy", *given)
    assert ended.status == 2
    assert "predicted_model is not what it was: put the old one back; or give" in ended.err
    graph = predict(command, tmp_path / "copy", "model=package", "plugins=[predicted_model]")
    assert graph.out == predict(command, mine, "model=package").out
