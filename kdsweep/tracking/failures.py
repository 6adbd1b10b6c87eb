"""What an error of MLflow means: is the store away, or will it never take this record?"""

from __future__ import annotations

import re
from pathlib import Path

from kdsweep.config.secrets import hide_password_of, hide_passwords
from kdsweep.tracking.base import RecordRefused, StoreAway, TrackingError
from kdsweep.tracking.database import reason
from kdsweep.tracking.store import Store

LENGTH = 160  # characters of an error that is not known

# Of MLflow's error codes those that another try would meet again. A 404 without a code comes
# from a proxy whose server is away.
_FOR_GOOD = {
    "ALREADY_EXISTS",
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "NOT_FOUND",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_PASSING_STATUS = {401, 403, 404, 408, 429}  # of the artefact store; so are 500 and above

# How requests, urllib3 and psycopg2 word the usual reasons for no answer.
_NO_ANSWER = (
    (r"Connection refused", "connection refused"),
    (r"timed? ?out|timeout", "no answer in time"),
    (r"not known|NameResolutionError|Failed to resolve|translate host name", "no such host"),
    (r"Remote end closed|Connection aborted|reset by peer|Broken pipe", "it hung up"),
    (r"closed the connection unexpectedly|has been closed unexpectedly", "it hung up"),
    (r"No route to host|Network is unreachable", "the network does not reach it"),
    (r"SSLError|certificate", "its certificate is not accepted"),
)


def failure(error: Exception, store: Store, doing: str) -> TrackingError:
    """The error of ours for an error of the store, in one line."""
    why = hide_password_of(store.uri, brief(error, store.database))
    line = f"{store.origin}: {doing}: {why}"
    return StoreAway(line) if is_passing(error) else RecordRefused(line)


def is_passing(error: Exception) -> bool:
    """Whether another try, later, may succeed."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError, RequestException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code not in _FOR_GOOD
    if isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
        return status >= 500 or status in _PASSING_STATUS
    return isinstance(error, OSError | RequestException | SQLAlchemyError)


def brief(error: Exception, database: Path | None) -> str:
    """The reason in a few words, without passwords."""
    text = message(error)
    if database is not None:
        return hide_passwords(" ".join(reason(text, database).split())).rstrip(". ")
    for pattern, meaning in _NO_ANSWER:
        if re.search(pattern, text, re.IGNORECASE):
            return meaning
    answered = re.search(r"failed with error code (\d+)|too many (\d+) error responses", text)
    if answered is not None:
        return f"it answers {answered.group(1) or answered.group(2)}"
    return clipped(reason(text, None))


def message(error: Exception) -> str:
    """What an error says, with how to mend it where that is known."""
    if isinstance(error, ModuleNotFoundError):
        return f"a database driver is missing ({error}); install it (PostgreSQL: psycopg2-binary)"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; choose a folder that can be written"
    return str(error) or type(error).__name__


def clipped(text: str) -> str:
    """One line of at most ``LENGTH`` characters, without passwords."""
    line = " ".join(hide_passwords(text).split()).rstrip(". ")
    return line if len(line) <= LENGTH else line[: LENGTH - 1] + "…"
