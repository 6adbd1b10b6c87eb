"""Where a plugin is: a file or package beside the user's things, or a module that Python finds."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdsweep.errors import UserError


class Place(NamedTuple):
    """A module's name, and its file where that is one of the user's own folders."""

    module: str
    file: Path | None


def find(name: str, folders: Sequence[Path]) -> Place:
    """The place of a plugin.

    Args:
        name: a file, a package's folder, or a module.
        folders: where files are looked for after the working directory.

    Raises:
        UserError: there is none.
    """
    is_path = name.endswith(".py") or "/" in name
    for folder in (Path(), *folders):
        place = folder / Path(name).expanduser()
        for file in (place if is_path else place.with_name(f"{name}.py"), place / "__init__.py"):
            if file.is_file():
                return Place(_module_name(file), file.resolve())
    if is_path or not _is_importable(name):
        raise UserError(_missing(name, folders, is_path=is_path))
    return Place(name, None)


def _module_name(file: Path) -> str:
    file = file.resolve()
    return file.parent.name if file.stem == "__init__" else file.stem


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # of a package on the way, or a name that is none
        return False


def _missing(name: str, folders: Sequence[Path], *, is_path: bool) -> str:
    places = [Path.cwd(), *folders]
    there = [file for folder in places for file in sorted(folder.glob("*.py"))]
    names = [file.name if is_path else file.stem for file in there]
    close = difflib.get_close_matches(Path(name).name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    what = "no such file" if is_path else f"no module of that name, and no {name}.py"
    return f"plugins={name}: {what} in {' or '.join(dict.fromkeys(map(str, places)))}{hint}"
