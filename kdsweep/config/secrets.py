"""Passwords in addresses, hidden wherever an address is shown, logged or kept.

The addresses themselves stay as they are: what connects to a server or database needs them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"

# Hydra writes a value back with a backslash before each of its own signs, such as : and =.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*\\?://"
_WEB = r"(?<![A-Za-z0-9+.\-])https?\\?://"
_USER = r"[^\s:/?#@\[\]]*"
# Digits that end the authority of a web address are its port.
_KEPT = (
    rf"(?P<kept>{_WEB}{_USER}:(?!\d+(?:[/?#]|[,;:.)'\"\]]*(?:\s|$)))"
    rf"|(?<![A-Za-z0-9+.\-])(?!https?\\?://){_SCHEME}{_USER}:)"
)
# A password may hold any character but a space, raw @ and / among them, and ends at the last @
# before the next address. In quotes it may hold spaces too.
_IN_TEXT = re.compile(rf"{_KEPT}(?:(?!://)(?:\\ |\S))*@", re.IGNORECASE)
_IN_QUOTES = re.compile(
    rf"""(?<=['"]){_KEPT}(?:(?!://)(?:\\['"]|[^'"\n]))*@""",
    re.IGNORECASE,
)
# Of a text that is one address as a whole, spaces belong to the password as well.
_WHOLE = re.compile(rf"(?P<kept>(?!https?://){_SCHEME}{_USER}:)(?:(?!://).)*@", re.IGNORECASE)
_IN_QUERY = re.compile(
    r"(?P<kept>[?&;](?:[a-z_]*password|passwd|pwd|[a-z_]*token|[a-z_]*secret|api_?key)\\?=)"
    r"[^&;\s'\"]*",
    re.IGNORECASE,
)
# In the password of one address: the signs at which programs that parse it otherwise would cut.
_CUTS = re.compile(r"[@:/?#\[\]]")
_SHOWN = 2  # characters of a piece that is too short to tell anything


def hide_passwords(text: str) -> str:
    """Replace the password of every address in ``text`` by ``***``.

    Those are ``scheme://user:PASSWORD@host`` and ``?password=PASSWORD`` in the query of an
    address. In doubt too much is hidden; a text without addresses comes back as it is.
    """
    if "://" not in text:
        return text
    whole = _WHOLE.match(text)
    if whole is not None:
        text = f"{whole['kept']}{HIDDEN}@{text[whole.end() :]}"
    text = _IN_QUOTES.sub(rf"\g<kept>{HIDDEN}@", text)
    text = _IN_TEXT.sub(rf"\g<kept>{HIDDEN}@", text)
    return _IN_QUERY.sub(rf"\g<kept>{HIDDEN}", text)


def hide_password_of(address: str, text: str) -> str:
    """``text`` about an address, such as a driver's error, without the address's password.

    A driver that cuts an unquoted password at a wrong sign takes the rest for a host or a port
    and names it, so each of the password's pieces is hidden as well.
    """
    found = _WHOLE.match(address) or _IN_TEXT.match(address)
    if found is not None:
        password = found[0].removeprefix(found["kept"]).removesuffix("@")
        pieces = {password, unquote(password), *_CUTS.split(password)}
        for piece in sorted(pieces, key=len, reverse=True):
            if len(piece) > _SHOWN:
                text = text.replace(piece, HIDDEN)
    return hide_passwords(text)


def without_passwords(config: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration (``dataclasses.asdict``) with the passwords of its texts hidden."""
    return {key: hidden(value) for key, value in config.items()}


def hidden(value: Any) -> Any:
    """Lists, mappings and texts, nested in each other, with the passwords of all texts hidden."""
    if isinstance(value, str):
        return hide_passwords(value)
    if isinstance(value, Mapping):
        return without_passwords(value)
    if isinstance(value, list | tuple):
        return type(value)(map(hidden, value))
    return value


class HidingFormatter(logging.Formatter):
    """Formats lines of a log, other libraries' among them, without the passwords of addresses."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback if it has one."""
        return hide_passwords(super().format(record))
