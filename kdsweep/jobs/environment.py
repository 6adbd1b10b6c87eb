"""What trains: versions, device, the revision of the user's own work."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path

import torch

from kdsweep.results.record import Environment


def environment(device: str) -> Environment:
    """As it is now.

    Args:
        device: the hardware's name.
    """
    import importlib.metadata

    now = datetime.datetime.now(datetime.UTC)
    return Environment(
        device=device,
        kdsweep=importlib.metadata.version("kdsweep"),
        torch=torch.__version__,
        python=platform.python_version(),
        git_revision=git_revision(),
        started=now.isoformat(timespec="seconds"),
    )


def git_revision() -> str:
    """The commit of the folder that the user works in, or "none"."""
    head = Path(".git")
    if not any((parent / head).exists() for parent in (Path.cwd(), *Path.cwd().parents)):
        return "none"
    import subprocess

    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "none"
    return asked.stdout.strip() or "none"
