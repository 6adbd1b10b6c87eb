"""A package of a user's own architecture, whose code is in none of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from kdsweep.config import ModelConfig, PairConfig
from kdsweep.errors import UserError
from kdsweep.models.registry import ARCHITECTURES, register_model
from kdsweep.package.build import prepare, write_package
from kdsweep.package.formats import formats_of, open_model
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
    with pytest.raises(UserError, match=r"a user's own, .*give the package's model\.pt2 or model"):
        open_model(out / "model.safetensors")
