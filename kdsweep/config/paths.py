"""Where the configurations are, and where data is that was moved with its root folder."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The folder of configurations: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def moved(path: str | None, old: Path, new: Path) -> str | None:
    """The same path below ``new`` where ``path`` was below ``old``."""
    if path is None or not Path(path).is_relative_to(old):
        return path
    return str(new / Path(path).relative_to(old))
