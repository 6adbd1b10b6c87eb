"""--help, of the command and of a group, and the page with every key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from kdsweep.cli import main
from kdsweep.config.paths import conf_dir
from kdsweep.config.reference import keys
from kdsweep.library.reference import explain_groups, groups_asked, page


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


@pytest.mark.parametrize("group", sorted(groups_asked([p.name for p in conf_dir().iterdir()])))
def test_every_group_says_what_it_sets(group: str) -> None:
    bare = explain_groups([group])
    options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    assert re.sub(r"\s+", " ", bare).startswith(f"{group} Options: {', '.join(options)}")
    assert all(f"  {key.name}=" in bare or "=null (docs" in bare for key in keys(group))
    assert explain_groups([f"{group}={options[-1]}"]).startswith(f"{group}={options[-1]}\n")


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
