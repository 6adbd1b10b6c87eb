"""A configuration names its plugins with their sources, and whoever takes it up has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from kdsweep.config import Config
from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import config_from_plain, typed
from kdsweep.engines.networks import PopulationSpec
from kdsweep.engines.population import train_population
from kdsweep.errors import UserError
from kdsweep.jobs.job import Job
from kdsweep.jobs.plan import plan
from kdsweep.plugins import imported
from kdsweep.sweeper.plugins import register
from tests.plugins.test_load import MODEL, forget, write

LOSS = """
import kdsweep

@kdsweep.register_loss("mine")
def mine(student_logits, *, gamma=1.0):
    return gamma * student_logits.{what}
"""


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf_dir()), job_name="test"):
        yield


def made(*overrides: str) -> Config:
    return typed(compose("config", overrides=list(overrides)))


def test_names_become_hashes_and_come_back(folder: Path) -> None:
    write(folder / "mine.py", LOSS.format(what="mean((-2, -1))"))
    config = made("plugins=[mine]", "distill.losses.mine.gamma=2")
    assert config.plugins == {"mine.py": imported._IMPORTED["mine"].source}
    assert config.distill.losses["mine"] == {"gamma": 2.0}
    plain = dataclasses.asdict(config)
    assert config_from_plain(plain) == config
    forget("mine")
    write(folder / "mine.py", "# edited")
    with pytest.raises(UserError, match=r"^plugins=mine\.py: is not what it was"):
        config_from_plain(plain)


def test_what_another_module_registered_is_named_where_it_is_used(folder: Path) -> None:
    write(folder / "mine.py", MODEL.format(name="my_model"))
    __import__("sys").path.append(str(folder))
    __import__("mine")  # as a script of the user's does
    assert made().plugins == {}
    config = made("pair.student.name=my_model")
    assert config.plugins == {"mine.py": imported._IMPORTED["mine"].source}


def test_options_of_a_loss_and_arguments_of_a_model_need_no_plus(folder: Path) -> None:
    config = made("distill.losses.mine.gamma=2", "pair.student.kwargs.depth=3")
    assert config.distill.losses == {"hinton": {"weight": 1.0}, "mine": {"gamma": 2.0}}
    assert config.pair.student.kwargs == {"depth": 3}
    assert made("distill.losses.mine={}").distill.losses["mine"] == {}


def test_a_process_that_trains_imports_them_first(folder: Path) -> None:
    write(folder / "mine.py", "")
    config = dataclasses.replace(made("experiment=smoke"), plugins={"mine.py": "12ab"})
    with pytest.raises(UserError, match=r"^plugins=mine\.py: is not what it was .* was 12ab"):
        train_population(PopulationSpec(config=config), [], observer=None)


def planned(folder: Path, *overrides: str) -> None:
    config = made("experiment=smoke", f"root={folder}", "train.threads=1", *overrides)
    plan([Job(config=config, folder=folder)])


def test_a_loss_is_tried_before_any_training(folder: Path) -> None:
    write(folder / "mine.py", LOSS.format(what="mean((-2, -1))"))
    planned(folder, "plugins=[mine]", "distill.losses.mine={}")
    forget("mine")
    write(folder / "mine.py", LOSS.format(what="mean(0)"))
    with pytest.raises(UserError, match=r"^distill\.losses\.mine: of logits \[3, 8, K\]"):
        planned(folder, "plugins=[mine]", "distill.losses.mine={}")


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_model_is_tried_before_any_training(folder: Path, role: str) -> None:
    text = MODEL.replace("3 * 8 * 8", "3 * 32 * 32").format(name="mine")
    given = ("plugins=[mine]", f"pair.{role}.name=mine", f"pair.{role}.width=1")
    write(folder / "mine.py", text)
    planned(folder, *given)
    forget("mine")
    write(folder / "mine.py", text.replace("nn.Linear(", "nn.BatchNorm1d(3072), nn.Linear("))
    planned(folder, *given)
    forget("mine")
    frozen = "nn.Linear(3072, 3072).requires_grad_(False), nn.Linear("
    write(folder / "mine.py", text.replace("nn.Linear(", frozen))
    with pytest.raises(
        UserError, match=rf"^pair\.{role}\.name=mine: its parameter net\.1\.weight"
    ):
        planned(folder, *given)


def test_nothing_of_a_notebook_is_sent_to_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsweep.hardware.choose.usable_cores", lambda: 2)
    config = made("experiment=smoke", "train.fuse=workers", f"root={folder}")
    config = dataclasses.replace(config, plugins={"__main__": imported.NO_FILE})
    with pytest.raises(UserError, match=r"registered in a notebook .* put it into a file"):
        plan([Job(config=config, folder=folder)])
