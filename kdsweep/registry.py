"""Things by name, down to the error for a name that is not there."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Generic, TypeVar, overload

from kdsweep.errors import UserError

T = TypeVar("T")

# The module from outside of kdsweep that added an entry, by the entry's kind and name.
ORIGINS: dict[tuple[str, str], str] = {}
_IMPORTED: ContextVar[str | None] = ContextVar("imported", default=None)


@contextlib.contextmanager
def importing(module: str) -> Iterator[None]:
    """Take what is added meanwhile for that module's, whatever module defines it."""
    token = _IMPORTED.set(module)
    try:
        yield
    finally:
        _IMPORTED.reset(token)


class Registry(Generic[T]):
    """Entries by name, in the order in which they were added.

    Args:
        kind: what an entry is, in the singular, for the errors ("loss", "model").
        entries: the first of them.
    """

    def __init__(self, kind: str, entries: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, T] = dict(entries or {})
        self._help: dict[str, str] = {}

    @overload
    def add(
        self, name: str, entry: T, *, origin: str | None = None, help: str | None = None
    ) -> T: ...

    @overload
    def add(self, name: str, *, help: str | None = None) -> Callable[[T], T]: ...

    def add(
        self,
        name: str,
        entry: T | None = None,
        *,
        origin: str | None = None,
        help: str | None = None,
    ) -> T | Callable[[T], T]:
        """Add an entry; without one, a decorator that adds what it stands above.

        A module from outside of kdsweep may add its own again, as it does when it is reloaded.

        Args:
            name: of the entry.
            entry: what is added.
            origin: the module of a user's that it is of, where that can't be seen from itself.
            help: a sentence for ``--help``; None: its docstring's first paragraph.

        Raises:
            UserError: the name is taken.
        """
        if entry is None:
            return partial(self.add, name, help=help)
        module = origin or getattr(entry, "__module__", None) or "kdsweep"
        foreign = origin is not None or module.partition(".")[0] != "kdsweep"
        if foreign:
            module = _IMPORTED.get() or module
        again = foreign and ORIGINS.get((self.kind, name)) == module
        if name in self._entries and not again:
            raise UserError(f"{self.kind} {name}: there is one already; choose another name")
        if foreign:
            ORIGINS[self.kind, name] = module
        self._entries[name] = entry
        self._help[name] = _paragraph(entry) if help is None else " ".join(help.split())
        return entry

    def help(self, name: str) -> str:
        """What an entry is, in a sentence; empty where nothing says so."""
        return self._help[name] if name in self._help else _paragraph(self._entries[name])

    def get(self, name: str, *, given: str) -> T:
        """The entry of that name.

        Args:
            name: of the entry.
            given: what the user wrote, such as ``distill.losses.hinton``, to begin the error.

        Raises:
            UserError: there is none; it lists the names, and the nearest.
        """
        if name not in self._entries:
            raise UserError(
                f"{given}: no such {self.kind}; allowed is one of "
                f"{', '.join(self)}{did_you_mean(name, self)}"
            )
        return self._entries[name]

    def find(self, name: str) -> T | None:
        """The entry of that name, or None."""
        return self._entries.get(name)

    @property
    def plural(self) -> str:
        """What several entries are called."""
        return f"{self.kind}es" if self.kind.endswith("s") else f"{self.kind}s"

    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._entries)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def _paragraph(entry: object) -> str:
    """The first paragraph of the docstring of what is called, with the arguments that it has."""
    build = getattr(entry, "build", entry)
    given = ""
    if isinstance(build, partial):
        named = ", ".join(f"{key} {value}" for key, value in build.keywords.items())
        build, given = build.func, f" ({named})" if named else ""
    first = " ".join((getattr(build, "__doc__", None) or "").strip().split("\n\n")[0].split())
    return first + given


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """``; did you mean X?`` where one of ``allowed`` is close to what was given, else nothing."""
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f"; did you mean {close[0]}?" if close else ""
