"""A population after an epoch, on disk: a process that is lost loses the epochs since.

A checkpoint is found by what makes its members, never by a study or a trial. It is for exactly
these members, or for some of them; anybody else starts from nothing. Random numbers are functions
of seed, epoch and step (``streams``), so parameters, moments, averages and what learns beside
them are all there is to keep.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import filelock
from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.store import META, Store, digest, find_json
from kdsweep.train.population import Member

KIND = "checkpoint"
TENSORS = "state.safetensors"
VERSION = 1  # raise it when a file comes to hold something else
SHARE = 0.02  # of the time that checkpoints take, where their number is not given
FIRST = 20.0  # seconds of training before the first of those

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far one member has come."""

    history: list[dict[str, float]]
    seconds: float
    status: str | None = None  # diverged or dropped; None: it trains on
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A population after some epochs.

    Attributes:
        epoch: how many are done.
        size: members of a chunk.
        eval_batch: images of a batch of evaluation.
        standings: of every member, in the population's order.
        population: what training changes, by name: [n, ...] for the n members that train on.
        criterion: what the losses remember, under the members' labels.
        source: what the source of images has learned, under the members' labels.
        labels: of the members, in the population's order.
    """

    epoch: int
    size: int
    eval_batch: int
    standings: list[Standing]
    population: dict[str, Tensor]
    criterion: dict[str, Tensor]
    source: dict[str, Tensor]
    labels: list[str]


class Checkpoints:
    """Reads and writes the checkpoints of one population.

    What can't be written is told once, and training goes on without.

    Args:
        store: where they are.
        setting: names what the members have in common: code, data, networks, device.
        members: of the population, as they are asked for.
        every: epochs from one to the next; None: as many as take ``SHARE`` of the time.
        clock: seconds, from any moment on.
    """

    def __init__(
        self,
        store: Store,
        setting: str,
        members: Sequence[Member],
        *,
        every: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.setting = setting
        self.members = [_identity(member) for member in members]
        self.every = every
        self.clock = clock
        self.kind = f"{KIND}/{setting}/{digest(self.members)}"
        self.slot = 0  # two take turns: one is whole while the other is written
        self.since = clock()
        self.cost = 0.0  # seconds that the last one took
        self.lock: filelock.BaseFileLock | None = None

    def is_due(self, epoch: int) -> bool:
        """Whether there shall be one after so many epochs."""
        if self.every is None:
            return self.clock() - self.since >= max(FIRST, self.cost / SHARE)
        return self.every > 0 and epoch % self.every == 0

    def save(self, made: Checkpoint) -> None:
        """Write one that was made for all members; the one before goes."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        started = self.clock()
        tensors = {
            f"{part}/{name}": value.detach().contiguous()
            for part in ("population", "criterion", "source")
            for name, value in getattr(made, part).items()
        }
        meta = {
            "version": VERSION,
            "members": self.members,
            "epoch": made.epoch,
            "size": made.size,
            "eval_batch": made.eval_batch,
            "standings": [dataclasses.asdict(standing) for standing in made.standings],
        }
        try:
            if not self._is_held():
                return
            slot = 1 - self.slot
            with self.store.write(self.kind, str(slot), meta) as folder:
                save_file(tensors, folder / TENSORS)
            shutil.rmtree(self.store.folder(self.kind, str(self.slot)), ignore_errors=True)
            self.slot = slot
        except (OSError, UserError, SafetensorError) as error:
            self.every = 0
            log.warning("no checkpoint: %s; training goes on without", error)
        self.since = self.clock()
        self.cost = self.since - started

    def _is_held(self) -> bool:
        """Whether nobody else writes checkpoints of these members, who then trains them too."""
        if self.lock is None:
            lock = self.store.lock(self.kind, "writer")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                self.every = 0
                return False
            self.lock = lock
        return True

    def load(self) -> Checkpoint | None:
        """The latest that holds all members; a damaged one is told, and counts as absent."""
        found = []
        for path in self.store.folder(KIND, self.setting).glob(f"*/[01]/{META}"):
            meta = find_json(path, checked=True)
            if meta is None or meta["version"] != VERSION:
                continue
            places = _places(self.members, meta["members"])
            if places is not None:
                found.append((len(meta["members"]) == len(places), meta["epoch"], path, places))
        for _, _, path, places in sorted(found, reverse=True, key=lambda one: one[:2]):
            kind = f"{KIND}/{self.setting}/{path.parent.parent.name}"
            meta = self.store.find(kind, path.parent.name)
            if meta is not None:
                if kind == self.kind:
                    self.slot = int(path.parent.name)
                return _read(meta, path.parent / TENSORS, places)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            self.lock.release()


def discard(store: Store, setting: str, members: Sequence[Member]) -> None:
    """Remove the checkpoints of which all members are done."""
    folder = store.folder(KIND, setting)
    done = [_identity(member) for member in members]
    shutil.rmtree(folder / digest(done), ignore_errors=True)
    for path in folder.glob(f"*/[01]/{META}"):
        meta = find_json(path, checked=True)
        if meta is not None and _places(meta["members"], done) is not None:
            shutil.rmtree(path.parent.parent, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _read(meta: Mapping[str, Any], path: Path, places: Sequence[int]) -> Checkpoint:
    """What a file holds of the members at these places."""
    from safetensors.torch import load_file

    every = [Standing(**standing) for standing in meta["standings"]]
    rows = [i for i, standing in enumerate(every) if standing.status is None]
    own = [rows.index(place) for place in places if every[place].status is None]
    parts: dict[str, dict[str, Tensor]] = {"population": {}, "criterion": {}, "source": {}}
    for name, value in load_file(path).items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value[own] if part == "population" else value
    return Checkpoint(
        epoch=meta["epoch"],
        size=meta["size"],
        eval_batch=meta["eval_batch"],
        standings=[every[place] for place in places],
        labels=[str(place) for place in places],
        **parts,
    )


def _identity(member: Member) -> dict[str, Any]:
    """What tells a member from others of the same setting; its name does not."""
    return {"seed": member.seed, "hyper": dict(sorted(member.hyper.items()))}


def _places(ours: Sequence[Any], theirs: Sequence[Any]) -> list[int] | None:
    """Where each of ours is among theirs, each at a place of its own; None where one is not."""
    free: dict[str, list[int]] = {}
    for place, one in enumerate(theirs):
        free.setdefault(digest(one), []).append(place)
    places = []
    for one in ours:
        same = free.get(digest(one))
        if not same:
            return None
        places.append(same.pop(0))
    return places
