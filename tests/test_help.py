"""--help, of the command and of a group, and the page with every key."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from kdsweep.cli import main
from kdsweep.config.paths import conf_dir
from kdsweep.config.reference import keys
from kdsweep.errors import UserError
from kdsweep.library.help import explain_groups, read
from kdsweep.library.reference import page
from kdsweep.losses.registry import LOSSES
from kdsweep.models.registry import ARCHITECTURES
from tests.conftest import forgetting_plugins


def test_the_page_of_the_configuration_is_of_this_schema(repository: Path) -> None:
    written = (repository / "docs" / "configuration.md").read_text()
    assert written == page(), "python -m kdsweep.library.reference > docs/configuration.md"


def test_a_group_explains_its_keys_as_the_option_sets_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kdsweep", "distill=dkd", "distill.alpha=0.25", "--help"])
    main()
    text = capsys.readouterr().out
    assert text.startswith("distill=dkd\n  Decoupled KD (Zhao et al. 2022)")
    for key in ("distill.alpha=0.25", "distill.losses.dkd.nontarget_weight=8.0"):
        assert f"\n  {key}\n      " in text
    assert "(number; 0 to 1)" in text
    assert "a number, 0 or more" in text
    assert max(map(len, text.splitlines())) <= 99


@pytest.mark.parametrize("group", sorted(read([p.name for p in conf_dir().iterdir()]).groups))
def test_every_group_says_what_it_sets(group: str) -> None:
    bare = explain_groups(read([group]))
    options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    assert re.sub(r"\s+", " ", bare).startswith(f"{group} Options: {', '.join(options)}")
    assert all(f"  {key.name}=" in bare or "=null (docs" in bare for key in keys(group))
    assert explain_groups(read([f"{group}={options[-1]}"])).startswith(f"{group}={options[-1]}\n")


def test_an_option_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kdsweep", "distill=dkk", "--help"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.startswith("kdsweep: distill=dkk: no such option; did you mean")


def test_the_general_help_names_the_other_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kdsweep", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    text = capsys.readouterr().out
    for name in ("confirm", "export", "report"):
        assert f"python -m kdsweep.{name} study=NAME" in text
    assert "python -m kdsweep distill=dkd --help" in text
    assert "distill: adversarial, attention" in text


PLUGIN = '''
import kdsweep
from torch import nn

@kdsweep.register_model("helped_net", help="A net that is explained here.")
def helped(classes: int, depth: int = 3, kind: str = "a"):
    """Not this sentence."""
    return nn.Linear(3, classes)

@kdsweep.register_loss("helped_loss")
def distance(student_logits, teacher_logits, *, share=0.25):
    """The distance of logits, in a sentence.

    More that a list of names has no room for.
    """
    return ((student_logits - teacher_logits) ** 2).mean((-2, -1)) * share

@kdsweep.register_dataset("helped_images")
def images(root, split):
    return None
'''


def helped(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``python -m kdsweep ARGUMENTS --help`` prints."""
    with pytest.MonkeyPatch.context() as patch, forgetting_plugins():
        patch.setattr(sys, "argv", ["kdsweep", *arguments.split(), "--help"])
        main()
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 99
    return out


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "helped_plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    return "plugins=[helped_plugin]"


def test_what_is_registered_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    losses = helped("distill", capsys).partition("  Losses, for distill.losses.NAME={}\n")[2]
    assert "\n    logit_mae: Mean absolute difference: " in losses
    models = helped("pair", capsys).partition("Models, for pair.teacher.name=NAME, pair.st")[2]
    assert re.search(r"\n    resnet20: A ResNet of depth = 6n \+ 2.*\n? +\(depth 20,", models)
    pair = helped("pair=tiny", capsys)
    assert "\n  student cifar_student: Four 3 x 3 convolutions of 16 to 128 channels" in pair
    assert "plugins" not in helped("distill=dkd", capsys).partition("nontarget_weight=8.0")[2]
    for registry in (LOSSES, ARCHITECTURES):
        assert all(registry.help(name) for name in registry)


def test_what_plugins_register_is_explained_too(
    plugin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = helped(f"{plugin} distill=none distill.losses.helped_loss.share=0.5", capsys)
    sentence = "helped_loss: The distance of logits, in a sentence.\n"
    assert f"\n  {sentence}  distill.losses.helped_loss.weight=1.0\n" in said
    assert "\n  distill.losses.helped_loss.share=0.5\n      a number\n" in said
    assert said.endswith(f"\n  Losses of plugins, for distill.losses.NAME={{}}\n    {sentence}")
    assert f"\n    {sentence}" in helped(f"distill {plugin}", capsys)

    said = helped(f"{plugin} pair=tiny pair.student.name=helped_net", capsys)
    assert "\n  student helped_net: A net that is explained here.\n" in said
    assert "\n  pair.student.kwargs.depth=3\n  pair.student.kwargs.kind=a\n" in said
    assert "Models of plugins, for" in said
    assert "helped_net" not in helped("pair", capsys)

    said = helped(f"{plugin} data=registered", capsys)
    assert said.endswith(
        "Datasets of plugins, for data=registered data.name=NAME\n    helped_images\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("distill=helped_loss", "distill=helped_loss: is the name of a loss, not an option of "
         "distill; give distill.losses.helped_loss={}"),
        ("pair=helped_net", "pair=helped_net: is the name of a model, not an option of pair; give "
         "pair.student.name=helped_net"),
        ("distill=none distill.losses.helped_los={}", "distill.losses.helped_los: no such loss; "),
        ("distill plugins=[helped_plugn]", "plugins=helped_plugn: no module of that name, and no"),
        ("pair=mine --config-dir nowhere", "--config-dir=nowhere: there is no such folder"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused(
    plugin: str, arguments: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        helped(arguments if "plugins" in arguments else f"{plugin} {arguments}", capsys)
    err = capsys.readouterr().err
    assert err.startswith(f"kdsweep: {line}")
    assert err.count("\n") == 1
    assert ("did you mean helped_" in err) == ("no such loss" in line or "no module" in line)


def test_options_of_a_users_own_are_explained(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "it's mine"  # a path that wants to be quoted
    shutil.copytree(repository / "docs" / "examples" / "conf", own)
    (own / "pair" / "tiny.yaml").write_text("# Not kdsweep's.\nteacher: {name: resnet56}\n")
    (own / "distill").mkdir()
    (own / "distill" / "mine.yaml").write_text(
        "# Hinton, mine.\ndefaults: [hinton]\ntemperature: 7\n"
    )

    def said(*arguments: str) -> str:
        return explain_groups(read(arguments))

    preset = said("--config-dir", str(own), "-m", "experiment=mine", "distill.alpha=0.1,0.2")
    assert preset.startswith("experiment=mine\n  A preset of your own: seconds, on digits.")
    assert "        distill.temperature: 1,4" in preset
    pair = said("-cd", str(own), "pair=mine")
    assert pair.startswith("pair=mine\n  A pair of your own: who teaches whom.")
    assert "  pair.student.width=0.3\n" in pair
    assert "  pair.teacher.name=resnet8\n" in said(f"--config-dir={own}", "pair=tiny")
    assert "  distill.temperature=7.0\n" in said(f"--config-dir={own}", "distill=mine")
    assert "Options: cifar_cnn, mine, resnet110_resnet20, " in said(f"--config-dir={own}", "pair")
    with pytest.raises(UserError, match="pair=mime: no such option; did you mean mine"):
        said("--config-dir", str(own), "pair=mime")
