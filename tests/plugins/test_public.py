"""What plugins may use is public, and enough: some of kdsweep's own losses use nothing else."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kdsweep
from kdsweep import losses

PACKAGE = Path(kdsweep.__file__).parent
BY_PUBLIC_MEANS = ("sp", "vid", "pkt", "nst", "cc", "reviewkd")
TOP = {
    *("sweep", "run", "load", "Study", "errors", "losses", "__version__"),
    *("register_model", "register_loss", "register_dataset", "check_model", "check_loss"),
}


def imported(path: Path) -> dict[str, str]:
    """What a module imports from kdsweep's others, with the module of each."""
    return {
        alias.name: str(node.module)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdsweep.")
        for alias in node.names
    }


def test_the_top_is_small_and_all_of_it_is_there() -> None:
    assert {*kdsweep.__all__} == {*kdsweep._OWNERS, "errors", "losses", "__version__"} == TOP
    assert dir(kdsweep) == sorted(kdsweep.__all__)
    for name in kdsweep.__all__:
        assert hasattr(kdsweep, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kdsweep.nothing


def test_the_losses_are_found_from_the_top() -> None:
    code = "import kdsweep; print(kdsweep.losses.FeatureLoss.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "FeatureLoss\n"


@pytest.mark.parametrize("name", BY_PUBLIC_MEANS)
def test_a_loss_of_our_own_needs_no_more_than_what_is_public(name: str) -> None:
    public = imported(PACKAGE / "losses" / "__init__.py")
    assert {*public} == {*losses.__all__}
    used = imported(PACKAGE / "losses" / f"{name}.py")
    assert used
    assert used.items() <= {**public, "UserError": "kdsweep.errors"}.items()


def test_what_type_checkers_see_is_what_there_is() -> None:
    seen = imported(PACKAGE / "__init__.py")
    assert seen == kdsweep._OWNERS
    assert all(importlib.util.find_spec(module) for module in seen.values())


def test_what_is_public_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^::: kdsweep\.(\S+)$", page, re.MULTILINE))
    assert TOP - {"errors", "losses", "__version__"} <= documented
    constants = {name for name in losses.__all__ if name.isupper()} | {"Shapes"}
    assert {f"losses.{name}" for name in losses.__all__} - {
        f"losses.{name}" for name in constants
    } <= documented
    assert all(f"`{name}`" in page for name in constants)
