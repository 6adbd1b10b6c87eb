"""What the ways in which a download ends early come to, in one line each."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from kdsweep.errors import UserError
from kdsweep.store import writable

TIMEOUT = 30.0  # seconds without an answer
_UNREACHABLE = (URLError, ConnectionError, TimeoutError, HTTPException, RecursionError)


@contextmanager
def downloading(given: str, *, what: str, root: Path, instead: str) -> Iterator[None]:
    """Let torchvision download and unpack.

    Args:
        given: what the user wrote, to begin the error.
        what: an address, or whose files they are.
        root: where they go.
        instead: what the user can do where they can't be had.

    Raises:
        UserError: there is no network, or ``root`` can't be written.
    """
    with _answers_within(TIMEOUT), writable(root), warnings.catch_warnings():
        # torchvision unpacks what its checksum knows, so no member of it needs a filter.
        warnings.filterwarnings("ignore", "Python 3.14 will", DeprecationWarning)
        try:
            yield
        except HTTPError as error:
            error.close()
            raise UserError(
                f"{given}: {what} can't be had (HTTP {error.code} {error.reason}): {instead}"
            ) from error
        except _UNREACHABLE as error:
            reason = getattr(error, "reason", error)
            raise UserError(
                f"{given}: no network, or none that reaches {what} ({reason}): {instead}"
            ) from error


@contextmanager
def _answers_within(seconds: float) -> Iterator[None]:
    """Give up on a network that swallows packets; urllib alone would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def web_address(mirror: str, example: str) -> str:
    """``data.mirror``, checked.

    Raises:
        UserError: it is none.
    """
    if not mirror.startswith(("http://", "https://")):
        raise UserError(f"data.mirror={mirror}: allowed is a URL such as {example}")
    return mirror
