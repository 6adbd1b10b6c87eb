from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from kdsweep.config import Config
from kdsweep.config.paths import conf_dir
from kdsweep.sweep.compose import Composer, without_hydra
from kdsweep.sweep.plugins import register

POINTS = [
    ["distill.temperature=3", "experiment=smoke", "study=x", "trial=4"],
    ["distill=none", "seeds=2", "trial=4"],
    ["distill.losses={hinton: {weight: 0.5}}", "train.optimizer.lr=1e-2", "trial=4"],
    ["+distill.losses.dkd.weight=2", "data.mean=[0,0,0]", "trial=4"],
    ["data=digits", "distill.alpha=0.25", "trial=4"],
]


@pytest.fixture(name="sweep", scope="module")
def _sweep() -> Iterator[tuple[Any, Any]]:
    register()
    with initialize_config_dir(config_dir=str(conf_dir())):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
        yield loader, config


def composer_of(loader: Any, config: Any) -> Composer:
    context: Any = SimpleNamespace(config_loader=loader)  # all that it reads of Hydra's
    return Composer(context, config)


@pytest.mark.parametrize("overrides", POINTS)
def test_a_job_is_what_hydra_would_have_composed(
    sweep: tuple[Any, Any], overrides: list[str]
) -> None:
    loader, config = sweep
    composer = composer_of(loader, config)
    composer.job([*overrides[:-1], "distill.temperature=9", "trial=7"], 0)  # fills the cache
    ours = composer.job(overrides, 0)
    theirs = loader.load_sweep_config(config, overrides)
    with open_dict(theirs):
        theirs.hydra.job.id, theirs.hydra.job.num = "4", 4
    assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs)
    plain = composer.plain(overrides)
    assert OmegaConf.to_yaml(plain) == OmegaConf.to_yaml(without_hydra(theirs))
    assert OmegaConf.get_type(plain) is Config


def test_plain_values_share_one_composition(sweep: tuple[Any, Any]) -> None:
    loader, config = sweep
    composed: list[list[str]] = []

    def count(master: Any, overrides: list[str]) -> Any:
        composed.append(overrides)
        return loader.load_sweep_config(master, overrides)

    counting = SimpleNamespace(
        load_sweep_config=count,
        get_group_options=loader.get_group_options,
        get_sources=loader.get_sources,
    )
    composer = composer_of(counting, config)
    for t in (1, 2, 3):
        job = composer.job([f"distill.temperature={t}", "data=digits"], t)
        assert job.distill.temperature == t
    assert composed == [["data=digits"]]


@pytest.mark.parametrize("override", ["distill.temprature=3", "distill.temperature=abc"])
def test_hydra_itself_says_what_is_wrong(sweep: tuple[Any, Any], override: str) -> None:
    loader, config = sweep
    composer = composer_of(loader, config)
    with pytest.raises(ConfigCompositionException):
        composer.job([override], 0)
