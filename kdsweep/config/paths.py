"""Where the configurations are."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The folder of configurations: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"
