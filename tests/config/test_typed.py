"""A configuration that was written down is the same one when it is read again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from kdsweep.config import Config
from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import config_from_plain, typed
from kdsweep.errors import UserError
from kdsweep.sweeper.plugins import register

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in conf_dir().glob("*/*.yaml")
    if path.parent.name != "hydra"
)
GIVEN = {  # options that ask something of the user
    "data=imagefolder": ("data.root=images",),
    "data=arrays": ("data.root=a.npz",),
    "data=torchvision": ("data.name=SVHN",),
    "data=huggingface": ("data.name=a/b", "data.label_column=digit"),
    "data=registered": ("data.name=mine", "data.options.blue=[1,2]"),
    "tracking=server": ("tracking.uri=http://127.0.0.1:5000",),
}
OTHERS = (
    ("+distill.schedules.alpha.name=linear", "+distill.schedules.alpha.end=0.1"),
    ("+distill.schedules.hinton.name=stop", "+distill.schedules.hinton.stop_epoch=3"),
    ("teacher.assistants=[resnet20,{name: cifar_student, width: 2}]",),
    ("objective=[accuracy,nll]", "study=s", "seeds=3", "train.clip_norm=1"),
    ("schedule=multistep", "schedule.milestones=[1,2.5]", "teacher.lr=0.1"),
)


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf_dir()), job_name="test"):
        yield


def made(*overrides: str) -> Config:
    return typed(compose("config", overrides=list(overrides)))


@pytest.mark.parametrize(
    "overrides", [(o, *GIVEN.get(o, ())) for o in OPTIONS] + list(OTHERS), ids=lambda o: o[0]
)
def test_what_was_written_is_read_again(overrides: tuple[str, ...]) -> None:
    config = made(*overrides)
    assert config_from_plain(dataclasses.asdict(config)) == config
    assert config_from_plain(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_what_was_written_by_hand_is_checked() -> None:
    plain = dataclasses.asdict(made())
    plain["distill"]["alpha"] = 2.0
    with pytest.raises(UserError, match=r"^distill.alpha=2.0: allowed is 0 to 1"):
        config_from_plain(plain)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("alpha.end=2", "distill.schedules.alpha.end=2: allowed is 0 to 1 for alpha"),
        ("hinton.gamma=0", "distill.schedules.hinton.gamma=0: allowed is a number above 0"),
        ("alpha.of=alpha", "distill.schedules.alpha.of=alpha: allowed are name, end, start_epoch"),
    ],
)
def test_a_schedule_is_named_by_its_key(given: str, line: str) -> None:
    name = given.partition(".")[0]
    with pytest.raises(UserError) as caught:
        made(f"+distill.schedules.{name}.name=linear", f"+distill.schedules.{given}")
    assert str(caught.value).startswith(line)
