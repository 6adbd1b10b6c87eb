"""Passwords in addresses, hidden wherever an address is shown, logged or kept.

The addresses themselves stay as they are: what connects to a server or database needs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*://"
_WEB = r"(?<![A-Za-z0-9+.\-])https?://"
_USER = r"[^\s:/?#@\[\]]*"
# A password may hold any character but a space, raw @ and / among them, and ends at the last @
# before the next address. Digits that end the authority of a web address are its port.
_IN_TEXT = re.compile(
    rf"(?P<kept>{_WEB}{_USER}:(?!\d+(?:[/?#]|[,;:.)'\"\]]*(?:\s|$)))"
    rf"|(?<![A-Za-z0-9+.\-])(?!https?://){_SCHEME}{_USER}:)"
    r"(?:(?!://)\S)*@",
    re.IGNORECASE,
)
# Of a text that is one address as a whole, spaces belong to the password as well.
_WHOLE = re.compile(rf"(?P<kept>(?!https?://){_SCHEME}{_USER}:)(?:(?!://).)*@", re.IGNORECASE)
_IN_QUERY = re.compile(
    r"(?P<kept>[?&;](?:[a-z_]*password|passwd|pwd|[a-z_]*token|[a-z_]*secret|api_?key)=)"
    r"[^&;\s'\"]*",
    re.IGNORECASE,
)


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
    text = _IN_TEXT.sub(rf"\g<kept>{HIDDEN}@", text)
    return _IN_QUERY.sub(rf"\g<kept>{HIDDEN}", text)


def without_passwords(config: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration (``dataclasses.asdict``) with the passwords of its texts hidden."""
    return {key: _hidden(value) for key, value in config.items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return hide_passwords(value)
    if isinstance(value, Mapping):
        return without_passwords(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_hidden, value))
    return value
