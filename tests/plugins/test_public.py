"""What plugins may use is public, and enough: some of kdsweep's own losses use nothing else."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import kdsweep

PACKAGE = Path(kdsweep.__file__).parent
BY_PUBLIC_MEANS = ("sp", "vid", "pkt", "nst", "cc", "reviewkd")


def test_what_is_public_is_there() -> None:
    assert {*kdsweep._OWNERS, "errors", "__version__"} == {*kdsweep.__all__}
    assert {*kdsweep.__all__} <= {*dir(kdsweep)}
    for name in kdsweep.__all__:
        assert hasattr(kdsweep, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kdsweep.nothing


@pytest.mark.parametrize("name", BY_PUBLIC_MEANS)
def test_a_loss_of_our_own_needs_no_more_than_what_is_public(name: str) -> None:
    tree = ast.parse((PACKAGE / "losses" / f"{name}.py").read_text())
    used = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdsweep")
        for alias in node.names
    }
    assert used
    assert used <= {(module, public) for public, module in kdsweep._OWNERS.items()}


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdsweep.")
        for alias in node.names
    }
    assert seen == kdsweep._OWNERS
    assert all(importlib.util.find_spec(module) for module in seen.values())
