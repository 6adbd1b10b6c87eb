"""Imports go one way: from the command line down to the errors, and nothing climbs back up."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kdsweep"

# From the top to the bottom. A module imports from its own layer's packages as little as it may
# from those above: the packages of one line don't know one another.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("library",),
    ("predict",),
    ("confirm", "export", "package", "bench"),
    ("sweeper",),
    ("jobs", "report"),
    ("engines",),
    ("datafree",),
    ("teachers",),
    ("results",),
    ("train", "verdict", "tracking"),
    ("losses",),
    ("evaluate", "models", "data"),
    ("hardware",),
    ("config", "terminal"),
    ("plugins",),
    ("store", "streams", "registry"),
    ("errors",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imported(source: str) -> set[str]:
    """Everything of kdsweep that a module's text imports, at its top or anywhere inside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "kdsweep":
            found |= {f"kdsweep.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == "kdsweep"}


def package_of(module: str) -> str:
    """The package, or the module of the top, that a dotted name belongs to."""
    return module.split(".")[1]


def climbing(package: str, source: str) -> list[str]:
    """What a module of ``package`` imports from a layer that is not below it."""
    names = {name for name in imported(source) if name != "kdsweep"}
    others = {name for name in names if package_of(name) != package}
    return sorted(name for name in others if RANK[package_of(name)] <= RANK[package])


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_arrow_climbs(path: Path) -> None:
    package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if package == "__init__" or path.name == "__main__.py":  # a command may use all but cli
        return
    assert climbing(package, path.read_text()) == []


def test_every_package_has_its_layer() -> None:
    there = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.suffix in ("", ".py")}
    assert there - {"__init__", "__pycache__", "py.typed", "conf"} == RANK.keys()


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("losses", "from kdsweep.train.loop import train"),
        ("train", "from kdsweep import cli"),
        ("jobs", "def late():\n    from kdsweep.sweeper.study import point"),
        ("data", "import kdsweep.models.vgg"),  # of the same layer
    ],
)
def test_a_planted_arrow_is_seen(package: str, line: str) -> None:
    assert climbing(package, line)


def test_only_main_imports_the_command_line() -> None:
    users = [p for p in modules() if "kdsweep.cli" in imported(p.read_text())]
    assert [p.name for p in users] == ["__main__.py"]
