"""What a user reads of an error: what was given or broken, and how to mend it, in one line."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdsweep.config.checks import shortened
from kdsweep.config.secrets import hide_password_of, hide_passwords
from kdsweep.errors import KdsweepError, TrainingError, UserError, first_line
from kdsweep.terminal.command import FULL_ERROR

# What another try of the same command may well survive.
_PASSING = ("is locked", "disk is full", "disk I/O error")
_OF_FILES = (
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR,
    errno.EISDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT, errno.ELOOP, errno.EINVAL,
)  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_FOLDERS = (errno.ENOTDIR, errno.EROFS, errno.EEXIST, *_FULL)


def explain(error: BaseException) -> tuple[str, int]:
    """The line that tells a user what went wrong, and the exit status."""
    known = known_error(error, sys.argv[1:])
    if known is not None:
        return str(known), known.exit_status
    where = f"set {FULL_ERROR}=1 to see where"
    return hide_passwords(f"unexpected {type(error).__name__}: {error} ({where})"), 1


def known_error(error: BaseException, arguments: Sequence[str]) -> KdsweepError | None:
    """An error that says in one line how to mend what went wrong; None where nobody knows.

    Args:
        error: as it was raised; one of kdsweep's is given back as it is, but for a password.
        arguments: what the user asked for.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kdsweep.config.messages import hydra_line, plain_line

    known: KdsweepError | None = None
    if isinstance(error, KdsweepError):
        known = error
    elif isinstance(error, (HydraException, OmegaConfBaseException)):
        known = UserError(hydra_line(error))
    elif (line := plain_line(error, list(arguments))) is not None:
        known = UserError(line)
    elif (broken := explain_storage_error(error, _study_storage())) is not None:
        known = broken
    elif isinstance(error, OSError) and error.filename and error.errno in _OF_FILES:
        known = UserError(_of_file(error))
    elif any(map(_is_full, _causes(error))):
        known = TrainingError(
            "the disk is full: free some space, and the same command goes on; or choose another "
            "folder with root=..."
        )
    if known is None or hide_passwords(str(known)) == str(known):
        return known
    return type(known)(hide_passwords(str(known)))


def _is_full(error: BaseException) -> bool:
    """Whether there was no room for a file; not every error of it has the file's name."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    # safetensors has an error of its own, with the system's in its text.
    return type(error).__name__ == "SafetensorError" and any(
        f"(os error {number})" in str(error) for number in _FULL
    )


def _of_file(error: OSError) -> str:
    what = f"{shortened(str(error.filename), 200)}: {error.strerror}"
    if error.errno == errno.ENAMETOOLONG:
        return f"{what}; shorten root= and study="
    if error.errno in _OF_FOLDERS:
        return f"can't write in {what}; choose another folder with root=..."
    return f"{what}; make it readable and writable, or name another"


def explain_storage_error(error: BaseException, url: str | None) -> KdsweepError | None:
    """What an error of a study's database means; None for an error of anything else.

    Args:
        error: as Optuna or SQLAlchemy raised it, the database's own among its causes.
        url: the database's address, where it is known.

    Returns:
        A ``UserError`` where the database is not what it should be, and a ``TrainingError``
        where it could not be used for a while.
    """
    from kdsweep.tracking.database import reason

    found = [one for one in _causes(error) if _is_of_database(one)]
    if not found or any(type(one).__module__.startswith("mlflow") for one in _causes(error)):
        return None
    own = next((one for one in found if isinstance(one, sqlite3.Error)), found[-1])
    message = first_line(own) if url is None else hide_password_of(url, first_line(own))
    file = None
    if url is not None and url.startswith("sqlite:///"):
        file = Path(url.removeprefix("sqlite:///"))
    where = "the study's database" if url is None else f"storage={hide_passwords(url)}"
    if "no such table" in message or "no such column" in message:
        gone = f"{file or where} holds no study any more (removed, or another program's)"
        return UserError(f"{where}: {gone}; put a copy back, or choose another")
    if file is not None and not file.is_file():
        return UserError(f"{where}: {file} is gone; put a copy back, or start with another study")
    line = f"{where}: {reason(message, file)}"
    if any(symptom in message for symptom in _PASSING):
        return TrainingError(f"{line}; the same command continues the study")
    return UserError(line)


@contextlib.contextmanager
def naming(url: str) -> Iterator[None]:
    """Raise what a database at ``url`` does wrong as the user's one line.

    Raises:
        KdsweepError: in the place of Optuna's or SQLAlchemy's error.
    """
    try:
        yield
    except Exception as error:
        known = None if isinstance(error, KdsweepError) else explain_storage_error(error, url)
        if known is None:
            raise
        raise known from error


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        after = error.__cause__ or error.__context__
        if after is None:
            break
        error = after
    return chain


def _is_of_database(error: BaseException) -> bool:
    library = type(error).__module__.partition(".")[0]
    return library in ("sqlite3", "sqlalchemy", "psycopg2") or (
        type(error).__name__ == "StorageInternalError"
    )


def _study_storage() -> str | None:
    """The address of the study that this process was to sweep; None where none was composed."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf.errors import OmegaConfBaseException

    try:
        storage = HydraConfig.get().sweeper.get("storage")
    except (ValueError, AttributeError, OmegaConfBaseException):
        return None
    return storage if isinstance(storage, str) else None
