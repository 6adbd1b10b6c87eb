"""A study's folder: of one study alone, and gone again where the study is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.store import writable

OWNER = ".study"  # the file with the name of the study that the folder belongs to


@contextlib.contextmanager
def folder_of_study(folder: Path, study: str) -> Iterator[Callable[[], None]]:
    """Make a study's folder; what a ``UserError`` leaves empty is removed again.

    Trials are numbered by their study, so two studies in one folder would take each other's
    records for theirs. The function that it gives makes the folder this study's for good.

    Raises:
        UserError: it is another study's, or can't be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        _refuse_other(folder, study)
        yield lambda: _keep(folder, study)
    except UserError:
        for path in made:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        raise


def _keep(folder: Path, study: str) -> None:
    with (
        writable(folder),
        contextlib.suppress(FileExistsError),
        (folder / OWNER).open("x") as file,
    ):
        file.write(f"{study}\n")
    _refuse_other(folder, study)


def _refuse_other(folder: Path, study: str) -> None:
    try:
        known = (folder / OWNER).read_text().strip()
    except FileNotFoundError:
        return
    if known and known != study:  # empty for as long as another process is writing it
        raise UserError(
            f"hydra.sweep.dir={folder}: holds study {known}, and the trials of study {study} "
            "would take its folders; choose another folder, or leave it out"
        )
