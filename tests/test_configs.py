"""Every option of every group, every preset and every documented command composes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from kdsweep.config import Config
from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import typed
from kdsweep.errors import UserError
from kdsweep.losses.registry import loss_spec
from kdsweep.models import model_names
from kdsweep.models.torchvision_models import torchvision_names
from kdsweep.sweeper.plugins import register

CONF = Path(__file__).parent.parent / "conf"
OPTIONS = sorted(
    f"{path.parent.relative_to(CONF)}={path.stem}"
    for path in CONF.rglob("*.yaml")
    if path.parent != CONF
)
GIVEN = {  # options that ask something of the user
    "data=imagefolder": "data.root=images",
    "data=arrays": "data.root=a.npz",
    "data=torchvision": "data.name=SVHN",
    "data=huggingface": "data.name=ylecun/mnist",
    "data=registered": "data.name=mine",
    "tracking=server": "tracking.uri=http://127.0.0.1:5000",
}


@pytest.fixture(autouse=True, scope="module")
def _hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(conf_dir())):
        yield


def whole(*overrides: str) -> DictConfig:
    return compose("config", list(overrides), return_hydra_config=True)


def made(*overrides: str) -> Config:
    return typed(compose("config", list(overrides)))


def test_the_configurations_of_this_checkout_are_tested() -> None:
    assert conf_dir() == CONF
    assert len(OPTIONS) > 20


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_makes_a_typed_configuration(option: str) -> None:
    overrides = [option, GIVEN[option]] if option in GIVEN else [option]
    group, name = option.split("=")
    config = made(*overrides)
    assert isinstance(config, Config)
    assert whole(*overrides).hydra.runtime.choices[group] == name


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_says_what_it_is_for(option: str) -> None:
    group, name = option.split("=")
    lines = (CONF / group / f"{name}.yaml").read_text().splitlines()
    assert len(lines) <= 3 or any(line.startswith("# ") for line in lines)


@pytest.mark.parametrize(("option", "asked"), GIVEN.items())
def test_an_option_that_asks_something_says_what(option: str, asked: str) -> None:
    with pytest.raises(
        UserError, match=rf"^{re.escape(asked.partition('=')[0])}=(None)?: allowed"
    ):
        made(option)


@pytest.mark.parametrize("search", [o for o in OPTIONS if o.startswith("search=")])
@pytest.mark.parametrize("sweeper", ["kdsweep", "optuna"])
def test_every_search_goes_with_either_sweeper(search: str, sweeper: str) -> None:
    hydra = whole(search, f"hydra/sweeper={sweeper}").hydra
    assert hydra.mode.name == "MULTIRUN"
    assert set(hydra.sweeper.params) == {"distill.temperature", "distill.alpha"}
    assert hydra.sweeper.sampler._target_.startswith(("optuna.samplers.", "hydra_plugins."))


@pytest.mark.parametrize("pair", [o for o in OPTIONS if o.startswith("pair=")])
def test_every_pair_is_of_known_models(pair: str) -> None:
    config = made(pair)
    for name in (config.pair.teacher.name, config.pair.student.name):
        library, slash, theirs = name.partition("/")
        known = torchvision_names() if slash and library == "torchvision" else model_names()
        assert theirs in known if slash else name in known


def test_hyperparameters_are_scheduled_on_the_command_line() -> None:
    alpha = "+distill.schedules.alpha"
    config = made(f"{alpha}.name=linear", f"{alpha}.end=0.1", "+distill.schedules.hinton.end=2")
    assert config.distill.schedules["alpha"].name == "linear"
    assert config.distill.schedules["alpha"].end == 0.1
    assert config.distill.schedules["hinton"].end == 2


def test_every_pair_of_the_literature_is_an_option() -> None:
    pairs = {o.removeprefix("pair=") for o in OPTIONS if o.startswith("pair=")}
    for option in pairs - {"tiny", "cifar_cnn", "system2"}:
        config = made(f"pair={option}")
        assert option == f"{config.pair.teacher.name}_{config.pair.student.name}"
    assert len(pairs) == 11
    assert made("pair=system2").data.image_size == 224
    assert made("pair=system2", "data.image_size=96").data.image_size == 96


def test_everything_is_under_one_root(tmp_path: Path) -> None:
    config = whole(f"root={tmp_path}", "study=s")
    for place in (config.hydra.run.dir, config.hydra.sweep.dir, config.data.root):
        assert place.startswith(f"{tmp_path}/")
    assert config.storage == f"sqlite:///{tmp_path}/optuna.db"


def test_the_published_protocol_is_the_published_one() -> None:
    config = made("experiment=system1")
    assert (config.distill.temperature, config.distill.alpha) == (4.0, 0.7)
    assert (config.train.epochs, config.train.batch_size) == (15, 128)
    assert (config.schedule.name, config.schedule.step_size, config.schedule.gamma) == (
        "step",
        5,
        0.5,
    )
    adam = config.train.optimizer
    assert (adam.name, adam.lr, adam.weight_decay) == ("adam", 1e-3, 1e-4)
    assert config.data.mean == [0.485, 0.456, 0.406]
    assert config.data.std == [0.229, 0.224, 0.225]
    assert (config.data.views.padding, config.data.views.flip) == (4, True)
    assert (config.data.val_fraction, config.evaluate.protocol) == (0.0, "published")


def commands() -> list[str]:
    """The command lines of README.md and docs/ that run kdsweep itself."""
    root = CONF.parent
    found = []
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        for block in re.findall(r"^```bash\n(.*?)^```$", page.read_text(), re.M | re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.partition("python -m kdsweep ")[2] for line in lines]
    return sorted({line.partition(" #")[0] for line in found if line})


def overrides_of(line: str) -> list[str]:
    """A command's overrides, the first of its values for what it sweeps."""
    given = shlex.split(line)
    words = [word for word in given if "=" in word and not word.startswith("-")]
    chosen = []
    if "--config-dir" in given:
        folder = CONF.parent / given[given.index("--config-dir") + 1]
        chosen.append(f"hydra.searchpath=[file://{folder}]")
    for override in OverridesParser.create().parse_overrides(words):
        if override.is_interval_sweep():
            value = str(override.value().start)
        elif override.is_sweep_override():
            value = next(override.sweep_string_iterator())
        else:
            value = override.get_value_element_as_str()
        chosen.append(f"{override.get_key_element()}={value}")
    return chosen


@pytest.mark.parametrize("line", commands())
def test_every_documented_command_composes(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent / "docs" / "examples")  # where the plugins lie
    monkeypatch.setenv("STUDIES", "postgresql+psycopg2://user@host/kdsweep")
    made(*overrides_of(line))


def test_commands_are_documented() -> None:
    assert len(commands()) >= 5


def test_the_readme_lists_every_option() -> None:
    text = (CONF.parent / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", text, re.MULTILINE)
    listed = {group: set(re.findall(r"`(\w+)`", options)) for group, options in rows}
    ways = text.partition("### Ways to distil")[2].partition("\n\n|")[2].partition("\n\n")[0]
    listed["distill"] = set(re.findall(r"`(\w+)`", ways)) - {"distill"}
    there = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    assert there <= listed.keys()
    for group in there:
        assert listed[group] == {path.stem for path in (CONF / group).glob("*.yaml")}


def test_data_free_has_the_published_numbers() -> None:
    """DAFL's README: lr_G 0.02, latent_dim 1000, oh 0.05, ie 5, a 0.01."""
    made_of = made("distill=data_free").distill.generator
    assert made_of is not None
    assert (made_of.lr, made_of.latent) == (0.02, 1000)
    weights = (made_of.one_hot, made_of.information_entropy, made_of.activation)
    assert weights == (0.05, 5.0, 0.01)


@pytest.mark.parametrize(
    ("pair", "beta"),
    [
        ("resnet32x4_resnet8x4", 8),
        ("resnet32x4_shufflenetv2", 8),
        ("resnet56_resnet20", 2),
        ("vgg13_mobilenetv2", 6),
        ("vgg13_vgg8", 6),
        ("wrn_40_2_wrn_16_2", 6),
    ],
)
def test_a_pair_names_dkds_published_weight(pair: str, beta: float) -> None:
    text = (CONF / "pair" / f"{pair}.yaml").read_text()
    (command,) = re.findall(r"^# DKD's published weight: (.*)$", text, re.MULTILINE)
    config = made(f"pair={pair}", *command.split())
    assert config.distill.losses["dkd"]["nontarget_weight"] == beta


@pytest.mark.parametrize(
    ("option", "temperature", "weight"),
    [
        ("sp", None, 3000),
        ("pkt", None, 30000),
        ("nst", None, 50),
        ("cc", None, 0.02),
        ("vid", None, 1),
        ("nkd", 3, 1),
        ("dkd", 4, 1),
    ],
)
def test_an_option_has_the_published_weight(
    option: str, temperature: float | None, weight: float
) -> None:
    distill = made(f"distill={option}").distill
    assert distill.losses[option]["weight"] == weight == loss_spec(option).weight
    assert distill.alpha == 0.5
    assert temperature in (None, distill.temperature)
