"""Which process a run belongs to, and whether that process still lives.

A process id alone is reused sooner or later, so an owner is the id together with the host, the
boot, the namespace in which the id counts, and the moment at which the process started.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, told apart from every other one; ``str`` and ``parse`` are inverses."""

    pid: int
    host: str
    boot: str  # changes when the host starts anew; empty where the system has no such id
    space: str  # the namespace of process ids: a container has its own
    start: str  # when the process started, in the system's own clock

    def __str__(self) -> str:
        return (
            f"pid={self.pid} host={self.host} boot={self.boot} "
            f"space={self.space} start={self.start}"
        )

    @classmethod
    def parse(cls, text: str) -> Owner:
        """Read what ``str`` wrote.

        Raises:
            ValueError: The text is something else.
        """
        try:
            words = dict(word.split("=", 1) for word in text.split(" "))
            return cls(
                pid=int(words["pid"]),
                host=words["host"],
                boot=words["boot"],
                space=words["space"],
                start=words["start"],
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{text!r} names no process") from error

    def is_seen_from(self, other: Owner) -> bool:
        """Whether ``other`` could look this process up: one kernel, one namespace.

        Names of hosts say little, since containers may all have the same.
        """
        kernel = self.boot == other.boot if self.boot else self.host == other.host
        return kernel and self.space == other.space

    def is_dead(self) -> bool:
        """Whether the process is known to have ended; one that can't be seen from here may live.

        So may one of another boot: a host of the same name.
        """
        return self.is_seen_from(this_process()) and start_of(self.pid) != self.start


@lru_cache(maxsize=1)
def _this_process(pid: int) -> Owner:
    start = start_of(pid)
    assert start is not None
    return Owner(
        pid=pid,
        host=platform.node().replace(" ", "_"),
        boot=_read(_PROC / "sys/kernel/random/boot_id"),
        space=_pid_namespace(),
        start=start,
    )


def this_process() -> Owner:
    """The process that asks (not its parent, after a fork)."""
    return _this_process(os.getpid())


def start_of(pid: int) -> str | None:
    """When the process with this id started; None when there is none, or only a zombie."""
    if (_PROC / "self/stat").exists():
        # "pid (name) state ppid ...": the name may hold spaces and parentheses.
        fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
        return fields[19] if fields and fields[0] not in "ZX" else None
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout.split()
    return "_".join(answer[1:]) if answer and not answer[0].startswith("Z") else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""
