"""Plugins are found where users have them, imported once, and known by their source."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from kdsweep import plugins
from kdsweep.errors import UserError
from kdsweep.models import model_names
from kdsweep.plugins import imported
from tests.conftest import REPOSITORY

MODEL = """
import kdsweep
from torch import nn

count = globals().get("count", 0) + 1

@kdsweep.register_model("{name}")
def build(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))
"""


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("given", ["mine", "mine.py", ["mine"], "./mine.py"])
def test_a_file_of_the_working_directory_by_any_name(folder: Path, given: object) -> None:
    write(folder / "mine.py", MODEL.format(name="my_model"))
    (key,) = plugins.load(given)
    assert key == "mine.py"
    assert "my_model" in model_names()


def test_a_file_beside_the_configuration(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    conf = tmp_path_factory.mktemp("conf")
    file = write(conf / "elsewhere.py", MODEL.format(name="my_model"))
    with pytest.raises(UserError, match=r"no module of that name, and no elsewhere\.py"):
        plugins.load("elsewhere")
    pinned = plugins.load("elsewhere", [conf])
    assert list(pinned) == [str(file)]  # which is found without that folder
    assert plugins.load(pinned) == pinned


def test_a_package_and_its_modules(folder: Path) -> None:
    write(folder / "pack" / "__init__.py", "from pack import models")
    write(folder / "pack" / "models.py", MODEL.format(name="my_model"))
    pinned = plugins.load("pack")
    assert list(pinned) == ["pack"]
    assert plugins.used([("model", "my_model"), ("model", "resnet8")]) == pinned


def test_a_module_on_the_path(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("site-packages")
    write(place / "distribution_of_losses" / "__init__.py")
    write(place / "distribution_of_losses" / "mine.py", MODEL.format(name="my_model"))
    sys.path.append(str(place))
    pinned = plugins.load("distribution_of_losses.mine")
    assert list(pinned) == ["distribution_of_losses.mine"]
    assert plugins.load(pinned) == pinned
    del sys.modules["distribution_of_losses"], sys.modules["distribution_of_losses.mine"]


def test_it_is_imported_once(folder: Path) -> None:
    write(folder / "mine.py", MODEL.format(name="my_model"))
    first = plugins.load("mine")
    write(folder / "mine.py", "raise RuntimeError")  # edited while the command runs
    assert plugins.load(["mine.py", "mine"]) == first
    assert plugins.source_of("model", "my_model") == first["mine.py"]
    assert plugins.source_of("model", "resnet8") is None


def test_a_source_that_was_edited_is_refused(folder: Path) -> None:
    file = write(folder / "mine.py", "x = 1")
    pinned = plugins.load("mine")
    forget("mine")
    write(file, "x = 2")
    with pytest.raises(UserError, match=r"^plugins=mine\.py: is not what it was .*begin anew wi"):
        plugins.load(pinned)
    write(file, "x = 1")
    forget("mine")
    assert plugins.load(pinned) == pinned


def test_a_module_beside_it_belongs_to_its_source(folder: Path) -> None:
    write(folder / "mine.py", "from helper import x")
    helper = write(folder / "helper.py", "from deep.er import x")
    write(folder / "deep" / "__init__.py")
    deeper = write(folder / "deep" / "er.py", "x = 1")
    write(folder / "unrelated.py", "x = 1")
    sources = [plugins.load("mine")["mine.py"]]
    for file in (folder / "unrelated.py", helper, deeper):
        forget("mine", "helper", "deep", "deep.er")
        file.write_text(f"{file.read_text()}\n# edited")
        sources.append(plugins.load("mine")["mine.py"])
    assert sources[0] == sources[1]
    assert len(set(sources)) == 3


def test_a_source_is_the_same_wherever_it_lies(folder: Path) -> None:
    text = MODEL.format(name="my_model")
    write(folder / "one" / "mine.py", text)
    write(folder / "two" / "mine.py", text)
    (one,) = plugins.load("one/mine.py").values()
    forget("mine")
    assert plugins.load("two/mine.py") == {"two/mine.py": one}


def forget(*modules: str) -> None:
    """What a new process would not have."""
    for module in modules:
        sys.modules.pop(module, None)
        imported._IMPORTED.pop(module, None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "import no_such_thing",
            "ModuleNotFoundError: No module named 'no_such_thing' (line 1 of",
        ),
        ("\nx = 1 / 0", "ZeroDivisionError: division by zero (line 2 of"),
        ("def broken(:", "SyntaxError: "),
        ("import sys\nsys.exit(3)", "SystemExit: 3 (line 2 of"),
        (
            MODEL.format(name="resnet8"),
            "plugins=mine: model resnet8: there is one already; choose another name",
        ),
        (
            MODEL.replace("classes", "k").format(name="m"),
            "model m: its signature (k) has no number of classes",
        ),
    ],
)
def test_what_can_not_be_imported(folder: Path, text: str, line: str) -> None:
    write(folder / "mine.py", text)
    for _ in range(2):  # and not half imported then
        with pytest.raises(UserError) as error:
            plugins.load("mine")
        assert str(error.value).startswith("plugins=mine: ")
        assert line in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("mien", "no module of that name, and no mien.py in .*; did you mean mine"),
        ("mien.py", "no such file in .*; did you mean mine.py"),
        ("no/where.py", "no such file in"),
        ("json.py", "no such file"),
        ("..", "no module"),
        (3, "allowed is a list of files or modules"),
        ([""], "allowed is a list of files or modules"),
        ({"mine.py": 3}, "allowed is a list of files or modules"),
        ("string.py", "there is another module string"),
    ],
)
def test_what_is_no_plugin(folder: Path, given: object, line: str) -> None:
    write(folder / "mine.py")
    write(folder / "string.py")
    with pytest.raises(UserError, match=line):
        plugins.load(given)


def test_two_plugins_that_want_one_name(folder: Path) -> None:
    for name in ("one", "two"):
        write(folder / f"{name}.py", MODEL.format(name="my_model"))
    with pytest.raises(UserError, match=r"^plugins=two: model my_model: there is one already"):
        plugins.load(["one", "two"])


def test_installed_packages_announce_theirs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    write(folder / "announced.py", MODEL.format(name="my_model"))
    write(folder / "other.py", MODEL.format(name="other_model"))
    sys.path.append(str(folder))

    def entry_points(group: str) -> EntryPoints:
        assert group == "kdsweep.plugins"
        return EntryPoints(EntryPoint(n, n, group) for n in ("announced", "other"))

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    imported._announced.cache_clear()
    request.addfinalizer(imported._announced.cache_clear)
    plugins.load_installed()
    assert list(plugins.used([("model", "my_model")])) == ["announced.py"]
    write(folder / "broken.py", "raise ValueError('no')")
    points = EntryPoints([EntryPoint("b", "broken", "kdsweep.plugins")])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    imported._announced.cache_clear()
    with pytest.raises(UserError, match=r"^the installed plugin b: can't be imported: ValueErr"):
        plugins.load_installed()


def test_a_script_is_a_plugin_that_its_own_process_has(folder: Path) -> None:
    script = write(
        folder / "script.py",
        MODEL.format(name="my_model")
        + "from kdsweep import plugins\n"
        + "pinned = plugins.used([('model', 'my_model')])\n"
        + "assert list(pinned) == ['__main__'], pinned\n"
        + "assert plugins.load(pinned) == pinned\n",
    )
    assert python(str(script)) == ""
    with pytest.raises(UserError, match=r"is not what it was|in a notebook or at a prompt"):
        plugins.load({"__main__": "of another process"})


def test_importing_kdsweep_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'hydra', 'optuna', 'numpy', 'mlflow'}"
    text = f"import sys, kdsweep; dir(kdsweep); print({heavy} & {{*sys.modules}})"
    assert python("-c", text) == "set()\n"


def python(*arguments: str) -> str:
    """What a process of its own prints."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
