"""Records on disk, until the store takes them.

Each process whose store is away has a journal in the outbox: a file of JSON lines that is only
appended to, each time down to the disk. A line is a record with its number, or says which numbers
were delivered. Its owner holds a lock on it, which the system frees when the owner dies: whoever
gets the lock may deliver the rest.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock

from kdsweep.tracking.owner import this_process
from kdsweep.tracking.records import Record, from_plain, to_plain

FOLDER = "tracking-outbox"

Numbered = tuple[int, Record]

_log = logging.getLogger(__name__)


class Journal:
    """The records of one process that wait.

    Args:
        path: the file, which need not be there.
        lock: held by the caller.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock) -> None:
        self.path = path
        self._lock = lock
        self._files = path.with_suffix("")  # copies of the artefacts that wait
        self._start = "\n" if path.exists() else ""  # after a line that was cut short

    def append(self, records: Iterable[Numbered]) -> None:
        """Keep records.

        Raises:
            OSError: the disk doesn't take them.
        """
        self._write([{"number": number, **to_plain(record)} for number, record in records])

    def delivered(self, numbers: Iterable[int]) -> None:
        """Note which records the store has.

        Raises:
            OSError: the disk doesn't take it.
        """
        self._write([{"delivered": list(numbers)}])

    def header(self, store: str, experiment: str) -> None:
        """Write which store the records are for."""
        owner = str(this_process())
        self._write([{"store": store, "experiment": experiment, "owner": owner}])

    def is_for(self, store: str, experiment: str) -> bool:
        """Whether the records are for this store."""
        first = next(self._lines(), {})
        return (first.get("store"), first.get("experiment")) == (store, experiment)

    def keep_file(self, path: Path) -> Path:
        """Copy a file that waits, and return the copy, which has its name.

        Raises:
            OSError: the disk doesn't take it.
        """
        folder = self._files / f"{time.time_ns()}"
        folder.mkdir(parents=True)
        copy = folder / path.name
        shutil.copyfile(path, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        return copy

    def waiting(self) -> list[Numbered]:
        """The records that were not delivered, in order."""
        kept: dict[int, Record] = {}
        for line in self._lines():
            if "number" in line:
                number = line.pop("number")
                kept[number] = from_plain(line)
            for number in line.get("delivered", ()):
                kept.pop(number, None)
        return sorted(kept.items())

    def remove(self) -> None:
        """Delete the journal, when all is delivered."""
        shutil.rmtree(self._files, ignore_errors=True)
        self.path.unlink(missing_ok=True)
        self.close()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it to another process."""
        self._lock.release()

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """Append lines down to the disk, all of them or none."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            unwritten = memoryview(f"{self._start}{text}".encode())
            try:
                while unwritten:
                    unwritten = unwritten[file.write(unwritten) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        self._start = ""

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open() as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:  # empty, or cut short by a power cut
                    continue
                yield line


class Outbox:
    """The journals of one root that are for one store.

    Args:
        root: the folder of everything that kdsweep writes.
        store: its address without a password.
        experiment: its experiment.
    """

    def __init__(self, root: Path, *, store: str, experiment: str) -> None:
        self.folder = root / FOLDER
        self._store = store
        self._experiment = experiment

    def create(self) -> Journal:
        """This process's own journal.

        Raises:
            OSError: the disk doesn't take it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        me = this_process()
        path = self.folder / f"{me.host}-{me.pid}-{time.time_ns()}.jsonl"
        lock = filelock.FileLock(path.with_suffix(".lock"), thread_local=False)
        lock.acquire()
        journal = Journal(path, lock)
        try:
            journal.header(self._store, self._experiment)
        except OSError:
            journal.remove()
            raise
        return journal

    def left(self) -> Iterator[Journal]:
        """Those that ended processes left, oldest first; the caller holds and closes each."""
        for path in sorted(self.folder.glob("*.jsonl"), key=lambda p: p.stem.rpartition("-")[2]):
            lock = filelock.FileLock(path.with_suffix(".lock"), thread_local=False)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:  # its process lives, or another one delivers it
                continue
            journal = Journal(path, lock)
            if not path.is_file():  # it was delivered in the meantime
                journal.remove()
            elif journal.is_for(self._store, self._experiment):
                yield journal
            else:
                journal.close()
