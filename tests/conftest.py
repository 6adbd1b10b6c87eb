"""What all tests share: a quiet environment, and kdsweep as a command of its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

# Read when torch's OpenMP starts: threads that wait by spinning starve a machine's other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["MPLBACKEND"] = "agg"
for _name in [name for name in os.environ if name.startswith(("MLFLOW_", "HYDRA_"))]:
    del os.environ[_name]  # a developer's own stores and switches


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def command() -> Command:
    """Run ``python -m kdsweep ARGUMENTS`` in a folder, as a user does."""

    def run(
        *arguments: str,
        cwd: Path,
        module: str = "kdsweep",
        path: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(path), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(status=done.returncode, out=done.stdout, err=done.stderr)

    return run
