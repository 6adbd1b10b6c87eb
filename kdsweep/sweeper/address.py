"""Where a study is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class StudyAddress:
    """A study's name, its database, and the folders of its output."""

    name: str
    storage: str = field(repr=False)  # its database's address, with a password it may have
    root: Path  # of all output
    folder: Path  # of its records
    adaptive: bool  # whether its cells were chosen by what earlier ones scored
