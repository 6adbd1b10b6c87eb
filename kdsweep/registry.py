"""Things by name, down to the error for a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Generic, TypeVar, overload

from kdsweep.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries by name, in the order in which they were added.

    Args:
        kind: what an entry is, in the singular, for the errors ("loss", "model").
        entries: the first of them.
    """

    def __init__(self, kind: str, entries: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, T] = dict(entries or {})

    @overload
    def add(self, name: str, entry: T) -> T: ...

    @overload
    def add(self, name: str) -> Callable[[T], T]: ...

    def add(self, name: str, entry: T | None = None) -> T | Callable[[T], T]:
        """Add an entry; without one, a decorator that adds what it stands above.

        Raises:
            UserError: the name is taken.
        """
        if entry is None:
            return partial(self.add, name)
        if name in self._entries:
            raise UserError(f"{self.kind} {name}: there is one already; choose another name")
        self._entries[name] = entry
        return entry

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

    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._entries)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """``; did you mean X?`` where one of ``allowed`` is close to what was given, else nothing."""
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f"; did you mean {close[0]}?" if close else ""
