"""Who trains a trial, and whether that process still lives.

A process of this machine is looked up. Of one that can't be seen from here, on another host or in
another container, its lease tells: every session writes the time into the study every few
seconds, and one that has not done so for a minute has lost its trials. Hosts whose clocks differ
by most of a minute can't share a study.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

import optuna

from kdsweep.tracking.owner import Owner, this_process

RENEWED = 10.0  # seconds between two signs of life
EXPIRED = 60.0  # seconds without one after which a session has lost its trials
LEASE = "kdsweep:lease:"  # of the study, followed by the owner: when it last gave a sign of life

log = logging.getLogger(__name__)


class Lease:
    """Signs of life of this process, for as long as it works on a study.

    Args:
        storage: of the study.
        study_id: the storage's own number of it.
        renewed: seconds between two signs of life.
        expired: seconds without one after which a session has lost its trials.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        study_id: int,
        *,
        renewed: float = RENEWED,
        expired: float = EXPIRED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.storage = storage
        self.study_id = study_id
        self.renewed = renewed
        self.expired = expired
        self.clock = clock
        self.owner = this_process()
        self._first: dict[str, float | None] = {}  # signs of life when first asked for, by owner
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="kdsweep-lease", daemon=True)

    def renew(self) -> None:
        """Give a sign of life."""
        self.storage.set_study_user_attr(self.study_id, LEASE + str(self.owner), self.clock())

    def is_lost(self, owner: str) -> bool:
        """Whether the process that wrote ``owner`` has ended, as far as can be known."""
        try:
            parsed = Owner.parse(owner)
        except ValueError:
            return True
        seen = parsed.is_seen_from(self.owner)
        return parsed.is_dead() if seen else self.silent_for(owner) > self.expired

    def lives(self, owner: str) -> bool:
        """Whether a process lives for certain, of one that is not lost.

        It is seen from here, or has given a sign of life since this was first asked.
        """
        if Owner.parse(owner).is_seen_from(self.owner):
            return True
        last = self._last_sign(owner)
        return last != self._first.setdefault(owner, last)

    def silent_for(self, owner: str) -> float:
        """Seconds since a process gave a sign of life; endless where it never did."""
        last = self._last_sign(owner)
        return float("inf") if last is None else self.clock() - last

    def _last_sign(self, owner: str) -> float | None:
        last: float | None = self.storage.get_study_user_attrs(self.study_id).get(LEASE + owner)
        return last

    def __enter__(self) -> Self:
        self.renew()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._ended.wait(self.renewed):
            try:
                self.renew()
            except Exception as error:  # a database that is away for a while is no reason to end
                log.debug("no sign of life could be written: %s", error)
