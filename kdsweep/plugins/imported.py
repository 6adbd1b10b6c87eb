"""Importing plugins, once in a process, and knowing by which source each entry is made."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.errors import KdsweepError, UserError, first_line
from kdsweep.plugins.find import find
from kdsweep.plugins.source import INSTALLED, source_hash
from kdsweep.registry import ORIGINS, importing

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "kdsweep.plugins"  # of entry points
MAIN = "__main__"  # a script's own module, or a notebook's
NO_FILE = "interactive"  # in the place of the hash


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """An imported plugin.

    Attributes:
        key: how a configuration names it, for other processes in this working directory too.
        source: a hash of its source as it was imported.
    """

    key: str
    source: str


_IMPORTED: dict[str, Plugin] = {}  # by the module's name: a process imports a module once


def load(given: object, folders: Sequence[Path] = ()) -> dict[str, str]:
    """Import plugins, unless this process has done so.

    Args:
        given: names, or one, or a mapping of names to the hashes that their sources must have; a
            name is a file (``my_loss.py``), a package's folder or a module (``my_loss``).
        folders: where files are looked for after the working directory.

    Returns:
        The hash of each by the plugin's key.

    Raises:
        UserError: there is no such plugin, it can't be imported, or its source is another.
    """
    loaded = {}
    for name, source in _named(given).items():
        plugin = _load(name, folders)
        if source not in (None, plugin.source):
            raise UserError(
                f"plugins={name}: is not what it was (the hash of its source was {source}, is "
                f"{plugin.source}), and results of both don't compare; put the old one back, or "
                f"begin anew with plugins=[{name}]"
            )
        loaded[plugin.key] = plugin.source
    return loaded


def load_installed() -> None:
    """Import the plugins that installed packages announce as entry points.

    Raises:
        UserError: one of them can't be imported.
    """
    for point in _announced():
        with _in_one_line(f"the installed plugin {point.name}"):
            _import(point.module)


@functools.cache  # what is installed does not change while a process runs, and asking is slow
def _announced() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))


def used(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The plugins of those entries, by kind and name, that a plugin has added; as ``load``."""
    plugins = [_plugin(ORIGINS[entry]) for entry in entries if entry in ORIGINS]
    return {plugin.key: plugin.source for plugin in plugins}


def source_of(kind: str, name: str) -> str | None:
    """The hash of the source that an entry is made by; None for kdsweep's own."""
    module = ORIGINS.get((kind, name))
    return None if module is None else _plugin(module).source


def refuse_interactive(loaded: Mapping[str, str] | None) -> None:
    """Let nothing of a notebook be wanted by another process.

    Raises:
        UserError: one of the plugins, as ``load`` gives them, is a notebook.
    """
    if (loaded or {}).get(MAIN) == NO_FILE:
        raise UserError(
            f"plugins={MAIN}: was registered in a notebook or at a prompt, which no other process "
            "can import; put it into a file, and give plugins=[FILE]"
        )


def _named(given: object) -> Mapping[str, str | None]:
    if isinstance(given, Mapping) and all(isinstance(v, str) for kv in given.items() for v in kv):
        return given
    names = [given] if isinstance(given, str) else given or []
    if isinstance(names, Sequence) and all(name and isinstance(name, str) for name in names):
        return dict.fromkeys(names)
    raise UserError(f"plugins={given}: allowed is a list of files or modules, as in [my_loss]")


def _load(name: str, folders: Sequence[Path]) -> Plugin:
    if name == MAIN:
        return _main()
    module, file = find(name, folders)
    with _in_one_line(f"plugins={name}"):
        if file is None:
            return _import(module)
        there = sys.modules.get(module)
        if there is None:
            return _import_file(module, file)
    other = getattr(there, "__file__", None)
    if other is None or Path(other).resolve() != file:
        raise UserError(
            f"plugins={name}: there is another module {module} ({other or 'of Python itself'}); "
            "rename the file"
        )
    return _plugin(module)


def _import(module: str) -> Plugin:
    if module not in sys.modules:
        with importing(module):
            importlib.import_module(module)
    return _plugin(module)


def _import_file(module: str, file: Path) -> Plugin:
    package = file.stem == "__init__"
    folder = file.parent.parent if package else file.parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # for the modules beside it
    spec = importlib.util.spec_from_file_location(
        module, file, submodule_search_locations=[str(file.parent)] if package else None
    )
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    source = source_hash(file, folder)  # first: what is imported is never newer
    sys.modules[module] = made
    try:
        with importing(module):
            spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[module]
        raise
    _IMPORTED[module] = Plugin(key=_relative(file.parent if package else file), source=source)
    return _IMPORTED[module]


def _plugin(module: str) -> Plugin:
    """Of a module that is imported, by ``load`` or by anybody."""
    if module in (MAIN, "__mp_main__"):
        return _main()
    if module not in _IMPORTED:
        at = getattr(sys.modules[module], "__file__", None)
        assert at is not None, f"{module} has no file"
        file = Path(at).resolve()
        lone = "." not in module and file.stem != "__init__" and not {*INSTALLED} & {*file.parts}
        depth = module.count(".") + (file.stem == "__init__")
        source = source_hash(file, file.parents[depth])
        _IMPORTED[module] = Plugin(key=_relative(file) if lone else module, source=source)
    return _IMPORTED[module]


def _main() -> Plugin:
    """A script that was started itself; a notebook has no file, and no other process has it.

    Raises:
        UserError: this process is another than the notebook's.
    """
    at = getattr(sys.modules[MAIN], "__file__", None)
    if at is not None:
        file = Path(at).resolve()
        return Plugin(key=MAIN, source=source_hash(file, file.parent))
    if MAIN not in ORIGINS.values():
        refuse_interactive({MAIN: NO_FILE})
    return Plugin(key=MAIN, source=NO_FILE)


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@contextlib.contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Raise whatever a user's module raises as the user's one line.

    Raises:
        UserError: names the error, and the line of the module that is nearest to it.
    """
    try:
        yield
    except KdsweepError as error:
        raise UserError(f"{what}: {error}") from error
    except (Exception, SystemExit) as error:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith("<frozen") and frame.filename != __file__
        ]
        at = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
        if isinstance(error, SyntaxError):
            at = f" (line {error.lineno} of {error.filename})"
        raise UserError(
            f"{what}: can't be imported: {type(error).__name__}: {first_line(error)}{at}"
        ) from error
