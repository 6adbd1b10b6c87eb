from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kdsweep.cli import explain
from kdsweep.config import Config
from kdsweep.config.messages import hydra_line
from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import typed
from kdsweep.errors import TrainingError, UserError
from kdsweep.sweeper.plugins import register


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf_dir()), job_name="test"):
        yield


def compose_typed(*overrides: str) -> Config:
    return typed(compose("config", overrides=list(overrides)))


def line_of(*overrides: str) -> str:
    with pytest.raises((UserError, HydraException, OmegaConfBaseException)) as caught:
        compose_typed(*overrides)
    line, status = explain(caught.value)
    assert status == 2
    assert "\n" not in line
    assert len(line) < 400
    return line


def test_what_is_right_composes() -> None:
    config = compose_typed("data=digits", "train=sgd", "distill.temperature=2", "seeds=3")
    assert isinstance(config, Config)
    assert (config.data.name, config.train.optimizer.name) == ("digits", "sgd")
    assert (config.distill.temperature, config.seeds) == (2.0, 3)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "data=cifar11",
            "data=cifar11: no such option; did you mean cifar10?; one of arrays, cifar10, "
            "cifar100, digits, huggingface, imagefolder, registered, torchvision",
        ),
        (
            "tracking=wandb",
            "tracking=wandb: no such option; one of local, none, server",
        ),
        (
            "hydra/launcher=fuse",
            "hydra/launcher=fuse: no such option; did you mean fused?; one of basic, fused",
        ),
    ],
)
def test_an_unknown_option_of_a_group(override: str, expected: str) -> None:
    line = line_of(override)
    assert line.startswith(expected)
    assert "provider" not in line  # Hydra's search path


@pytest.mark.parametrize("group", ["train", "schedule", "pair", "distill", "search", "experiment"])
def test_every_group_lists_its_options(group: str) -> None:
    options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    line = line_of(f"{group}=nothing_like_it")
    assert line == f"{group}=nothing_like_it: no such option; one of {', '.join(options)}"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("distill.temprature=3", "distill.temprature: no such key; did you mean distill.temp"),
        ("train.optimiser.lr=1", "train.optimiser.lr: no such key; did you mean train.optimizer."),
        ("seads=3", "seads: no such key; did you mean seed"),
        ("dta=digits", "dta: no such key; did you mean data?"),
        ("qqqq=1", "qqqq: no such key; python -m kdsweep --cfg job lists them all"),
    ],
)
def test_a_misspelt_key(override: str, expected: str) -> None:
    assert line_of(override).startswith(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs=abc", "train.epochs=abc: allowed is a whole number"),
        ("train.epochs=1.5", "train.epochs=1.5: allowed is a whole number"),
        ("train.epochs=", "train.epochs=: allowed is a whole number"),
        ("train.optimizer.lr=fast", "train.optimizer.lr=fast: allowed is a number"),
        ("data.std=[a,b,c]", "data.std[0]=a: allowed is a number"),
        ("data.views.flip=maybe", "data.views.flip=maybe: allowed is true or false"),
        ("pair.student.name=[1]", "pair.student.name=[1]: allowed is one word or quoted text"),
        ("seeds=null", "seeds=null: allowed is a value, not null"),
        ("data.mean=3", "data.mean: "),
        ("root=${nope}", "data.root: Interpolation key 'nope' not found"),
    ],
)
def test_a_value_of_another_type(override: str, expected: str) -> None:
    line = line_of(override)
    if expected.endswith(" "):
        assert line.startswith(expected)
    else:
        assert line == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("distill.temperature=0", "distill.temperature=0.0: allowed is 0.001 to 1,000"),
        ("distill.alpha=1.5", "distill.alpha=1.5: allowed is 0 to 1"),
        ("train.batch_size=1", "train.batch_size=1: allowed is 2 or more"),
        ("objective=acuracy", "objective=acuracy: allowed is one of accuracy"),
    ],
)
def test_a_value_out_of_its_range(override: str, expected: str) -> None:
    assert line_of(override).startswith(expected)


@pytest.mark.parametrize("override", ["train.epochs=1,2", "a b=1", "data", "train.epochs=[1"])
def test_what_cannot_be_read_at_all(override: str) -> None:
    assert override.partition("=")[0].split()[0] in line_of(override)


def test_errors_that_are_nobodys() -> None:
    assert explain(TrainingError("it broke")) == ("it broke", 1)
    line, status = explain(ZeroDivisionError("division by zero"))
    assert status == 1
    assert line.startswith("unexpected ZeroDivisionError: division by zero (set HYDRA_FULL_ERROR")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            "Ambiguous value for argument 'distill.temperature=1,2'\n1. To use it as a list, ...",
            "distill.temperature=1,2: several values are a sweep; add -m",
        ),
        (
            "Error when parsing index: 1, string: root=/a b#c out of ['x', 'root=/a b#c'].\n"
            "LexerNoViableAltException: root=/a b#c\n  ^\nSee https://hydra.cc",
            "root=/a b#c: can't be read; quote what holds spaces or signs: \"root='/a b#c'\"",
        ),
        (
            "Error when parsing index: 0, string: experiment out of ['experiment'].",
            "experiment: allowed is key=value, or group=option",
        ),
        (
            "Sweeping over Hydra's configuration is not supported : 'hydra.job.name=a,b'",
            "hydra.job.name=a,b: is no axis of a sweep; give one value",
        ),
    ],
)
def test_what_hydra_says_at_length_is_one_line(error: str, line: str) -> None:
    assert hydra_line(Exception(error)) == line


def test_options_of_a_method_that_is_not_chosen() -> None:
    line = line_of("distill=hinton", "distill.inversion.images=3")
    assert line == "distill.inversion.images=3: allowed with distill=deep_inversion"
    line = line_of("distill=hinton", "+distill.generator.latent=3")
    assert line == "distill.generator.latent=3: allowed with distill=data_free"
