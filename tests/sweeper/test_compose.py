from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
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
from kdsweep.config.typed import config_from_plain, typed
from kdsweep.jobs.job import Job
from kdsweep.sweeper.compose import Composer, without_hydra
from kdsweep.sweeper.plugins import register

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


def trained(config: Any) -> Config:
    """What a whole configuration trains."""
    plain: Any = OmegaConf.to_container(without_hydra(config), resolve=True)
    return config_from_plain(plain)


def job_of(composer: Composer, overrides: list[str]) -> Job:
    return Job(
        config=typed(composer.compose(overrides)), folder=Path(), overrides=tuple(overrides)
    )


@pytest.mark.parametrize("overrides", POINTS)
def test_a_job_is_what_hydra_would_have_composed(
    sweep: tuple[Any, Any], overrides: list[str]
) -> None:
    loader, config = sweep
    composer = composer_of(loader, config)
    composer.compose([*overrides[:-1], "distill.temperature=9", "trial=7"])  # fills the cache
    theirs = loader.load_sweep_config(config, overrides)
    plain = composer.compose(overrides)
    assert OmegaConf.to_yaml(plain) == OmegaConf.to_yaml(without_hydra(theirs))
    assert OmegaConf.get_type(plain) is Config
    ours = composer.job(job_of(composer, overrides))
    with open_dict(theirs):
        theirs.hydra.job.id, theirs.hydra.job.num = "4", 4
    assert OmegaConf.to_yaml(ours.hydra) == OmegaConf.to_yaml(theirs.hydra)
    assert trained(ours) == typed(without_hydra(theirs))


def test_a_job_shows_what_it_trains_and_not_what_its_overrides_say(
    sweep: tuple[Any, Any],
) -> None:
    """A round's seeds, for one, are the sweep's and stand on no command line."""
    composer = composer_of(*sweep)
    made = job_of(composer, ["distill.temperature=3", "seeds=2", "trial=4"])
    later = dataclasses.replace(made, config=dataclasses.replace(made.config, seed=6, round=3))
    shown = composer.job(later)
    assert (shown.seed, shown.round) == (6, 3)
    assert trained(shown) == later.config
    assert list(shown.hydra.overrides.task) == list(made.overrides)


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
        overrides = [f"distill.temperature={t}", "data=digits"]
        assert composer.compose(overrides).distill.temperature == t
        assert composer.job(job_of(composer, overrides)).distill.temperature == t
    assert composed == [["data=digits"]]


def test_what_one_job_changes_stays_its_own(sweep: tuple[Any, Any]) -> None:
    composer = composer_of(*sweep)
    first = composer.job(job_of(composer, ["distill.temperature=1"]))
    with open_dict(first):
        first.distill.temperature = 9.0
        first.hydra.job.name = "mine"
    second = composer.job(job_of(composer, ["distill.temperature=2"]))
    assert second.distill.temperature == 2.0
    assert second.hydra.job.name != "mine"


@pytest.mark.parametrize("override", ["distill.temprature=3", "distill.temperature=abc"])
def test_hydra_itself_says_what_is_wrong(sweep: tuple[Any, Any], override: str) -> None:
    composer = composer_of(*sweep)
    with pytest.raises(ConfigCompositionException):
        composer.compose([override])
