"""What a wheel holds, what it asks for, and that it runs in a folder that is no checkout."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import Command

# Used without an import of ours: pandas writes Parquet with pyarrow, SQLAlchemy speaks to
# PostgreSQL with psycopg2, Optuna draws with cmaes, torch exports with onnx and onnxscript, the
# launchers are Hydra's to import, and the documentation's site is made by a command.
NOT_IMPORTED = {
    "cmaes", "pyarrow", "psycopg2-binary", "hydra-joblib-launcher",
    "hydra-submitit-launcher", "onnx", "onnxscript",
    "psutil", "mkdocstrings-python", "ruff", "zensical",
}  # fmt: skip


def project(repository: Path) -> dict[str, object]:
    loaded: dict[str, object] = tomllib.loads((repository / "pyproject.toml").read_text())[
        "project"
    ]
    return loaded


def names(requirements: object) -> set[str]:
    assert isinstance(requirements, list)
    return {Requirement(line).name for line in requirements}


def imported(repository: Path) -> set[str]:
    """The distributions that the package imports from, wherever in a file that is."""
    modules = set()
    for path in (repository / "kdsweep").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                modules.add(node.module.partition(".")[0])
    modules -= {"kdsweep", *sys.stdlib_module_names}
    owners = {
        **packages_distributions(),
        "hydra_plugins": ["hydra-optuna-sweeper"],  # a namespace of several
        "mlflow": ["mlflow"],  # and its skinny half
    }
    return {owners[module][0].lower().replace("_", "-") for module in modules}


def test_every_import_is_a_dependency_and_every_dependency_is_imported(repository: Path) -> None:
    described = project(repository)
    extras = described["optional-dependencies"]
    assert isinstance(extras, dict)
    asked = names(described["dependencies"])
    optional = set[str]().union(*(names(lines) for name, lines in extras.items() if name != "dev"))
    assert imported(repository) - optional == asked - NOT_IMPORTED
    assert optional - NOT_IMPORTED <= imported(repository)


def test_torch_and_torchvision_are_from_one_source() -> None:
    assert version("torch").partition("+")[2] == version("torchvision").partition("+")[2]
    import torch
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6]])
    assert nms(boxes, torch.tensor([1.0, 2, 3]), 0.5).tolist() == [2, 1]


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=repository,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is unpacked to, as pip does."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files(folder: Path, pattern: str) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob(pattern))


def test_the_wheel_holds_the_package_and_its_configurations(
    repository: Path, installed: Path
) -> None:
    assert sorted(files(installed / "kdsweep" / "conf", "*.*")) == sorted(
        files(repository / "conf", "*.*")
    )
    assert set(files(installed / "kdsweep", "*.py")) == set(files(repository / "kdsweep", "*.py"))
    assert (installed / "kdsweep" / "py.typed").is_file()
    (about,) = installed.glob("*.dist-info")
    assert {path.name for path in installed.iterdir()} == {"kdsweep", about.name}
    assert "kdsweep = kdsweep.cli:main" in (about / "entry_points.txt").read_text()
    assert (about / "licenses" / "LICENSE").is_file()


def test_the_wheel_says_what_it_needs(installed: Path) -> None:
    (about,) = installed.glob("*.dist-info")
    metadata = (about / "METADATA").read_text()
    asked = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.M)]
    assert {"torch", "torchvision"} <= {requirement.name for requirement in asked}
    for requirement in asked:  # what is installed here is what the wheel would ask for
        if requirement.marker is None and requirement.name != "kdsweep":
            assert requirement.specifier.contains(version(requirement.name), prereleases=True)


def test_the_wheel_composes_what_the_checkout_composes(
    repository: Path, installed: Path, command: Command, tmp_path: Path
) -> None:
    asked = ("--cfg", "job", "experiment=quickstart", "distill.alpha=0.3")
    theirs = command(*asked, cwd=tmp_path, path=installed)
    ours = command(*asked, cwd=tmp_path, path=repository)
    assert (theirs.status, theirs.err) == (0, "")
    assert theirs.out == ours.out
    assert "  alpha: 0.3\n" in theirs.out
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_lists_its_groups(installed: Path, command: Command, tmp_path: Path) -> None:
    helped = command("--help", cwd=tmp_path, path=installed)
    assert helped.status == 0
    assert "experiment: quickstart, " in helped.out


def test_the_wheel_completes_what_is_typed(
    installed: Path, command: Command, tmp_path: Path
) -> None:
    typed = command(
        "--shell-completion",
        "query=bash",
        cwd=tmp_path,
        path=installed,
        env={"COMP_LINE": "kdsweep data=cifar1"},
    )
    assert typed.out.split() == ["data=cifar10", "data=cifar100"]


def test_the_wheel_trains_elsewhere_and_without_mlflow(
    installed: Path, command: Command, tmp_path: Path
) -> None:
    blocked, folder = tmp_path / "blocked", tmp_path / "elsewhere"
    blocked.mkdir()
    folder.mkdir()
    (blocked / "mlflow.py").write_text("raise AssertionError('mlflow was imported')\n")
    trained = command(
        "experiment=smoke",
        "tracking=none",
        "train.epochs=1",
        cwd=folder,
        env={"PYTHONPATH": os.pathsep.join([str(blocked), str(installed)])},
    )
    assert (trained.status, trained.err) == (0, "")
    assert re.search(r"^baseline cifar_student .*\d\.\d\d", trained.out, re.MULTILINE)
    assert not [path for path in folder.rglob("*") if "mlflow" in path.name]
    assert "mlflow" not in trained.out


def test_the_commands_that_ci_runs_are_in_the_readme(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    for marker, ends in (("quickstart", "distill.temperature=1,2,3,4,5"), ("tests", "pytest")):
        found = re.findall(rf"^<!-- ci: {marker} -->\n```bash\n(.*)\n```$", text, re.MULTILINE)
        assert len(found) == 1
        assert found[0].endswith(ends)
