from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdsweep import registry
from kdsweep.data.sources.registered import DATASETS
from kdsweep.losses.registry import LOSSES
from kdsweep.models.registry import ARCHITECTURES
from kdsweep.plugins import imported


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what plugins add meanwhile is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    registries = (LOSSES, ARCHITECTURES, DATASETS)
    tables = [registry.ORIGINS, imported._IMPORTED, *(one._entries for one in registries)]
    before, modules = [dict(table) for table in tables], set(sys.modules)
    yield tmp_path
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]
