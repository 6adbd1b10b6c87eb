"""What decides how a module behaves: its file, and those of its own that it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")
_NOT_ITS_OWN = ("kdsweep",)  # a working directory may be a checkout


def source_hash(file: Path, root: Path) -> str:
    """A hash of a module's source and of the modules beside it that it imports, and they import.

    A lone file has the files and packages of its folder beside it, a package its own modules.
    What is installed is left out, unless it is of the same package. Where the files lie does not
    matter.

    Args:
        file: the module's; a package's is its ``__init__.py``.
        root: the folder that the module, or its package, is imported from.
    """
    found: dict[str, bytes] = {}
    waiting = [file]
    while waiting:
        one = waiting.pop()
        name = one.relative_to(root).as_posix()
        if name not in found:
            found[name] = one.read_bytes()
            waiting += _imports(one, found[name], root, of=file)
    total = hashlib.sha256()
    for name in sorted(found):
        total.update(f"{name}\0{len(found[name])}\0".encode() + found[name])
    return total.hexdigest()[:16]


def _imports(file: Path, text: bytes, root: Path, *, of: Path) -> Iterator[Path]:
    """The files of modules that a module names in its imports, as far as they are its own."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # its import will say so
        return
    package = of.relative_to(root).parts[0] if of.parent != root else None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(root, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = root if node.level == 0 else file.parents[node.level - 1]
            base = f"{node.module}." if node.module else ""
            names = [(start, f"{base}{alias.name}") for alias in node.names]
        else:
            continue
        for start, name in names:
            for found in _files(start, name.split(".")):
                first = found.relative_to(root).parts[0] if found.is_relative_to(root) else ""
                if first in _NOT_ITS_OWN or not found.is_relative_to(root):
                    continue
                if package == first or (package is None and not set(INSTALLED) & {*root.parts}):
                    yield found


def _files(folder: Path, path: list[str]) -> Iterator[Path]:
    """The files of a dotted name, from its first package to its module."""
    for part in path:
        module, package = folder / f"{part}.py", folder / part / "__init__.py"
        if module.is_file():
            yield module
            return
        if not package.is_file():
            return
        yield package
        folder = package.parent
