from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from kdsweep.config import Config, DistillConfig
from kdsweep.store import digest
from kdsweep.sweep.space import Space


def content(weight: Any) -> str:
    config = OmegaConf.structured(Config(distill=DistillConfig(losses={"hinton": {}})))
    config.distill.losses.hinton.weight = weight
    return digest(Space({}, []).content(config, OmegaConf.create({})))


def test_weight_1_and_weight_1_0_are_the_same_study() -> None:
    assert content(1) == content(1.0)
    assert content(1) != content(2)
    assert content(1) != content(True)
