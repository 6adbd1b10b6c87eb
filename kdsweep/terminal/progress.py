"""What a person sees while a population trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from kdsweep.terminal.durations import times

if TYPE_CHECKING:
    from kdsweep.terminal.bar import Bar

log = logging.getLogger(__name__)
QUIET_SECONDS = 2.0  # between plain lines, so that a log stays readable


class Progress:
    """The progress of one training of one or more students.

    Args:
        title: what is being trained.
        epochs: how many.
        metric: which of the epoch's metrics is shown, such as val_accuracy.
        members: how many train; they may report an epoch in parts.
    """

    def __init__(self, title: str, *, epochs: int, metric: str, members: int = 1) -> None:
        self.title = title
        self.members = members
        self.epochs = epochs
        self.metric = metric
        self.started = time.monotonic()
        self.shown = -QUIET_SECONDS
        self.done = 0
        self.total = 1
        self.epoch_text = ""
        self.texts: tuple[str, ...] = ("",)  # for the bar, the longest first
        self.bar: Bar | None = None
        self.reported: dict[int, dict[str, Mapping[str, float]]] = {}  # by epoch
        self.last_epoch: dict[str, int] = {}  # of members that stopped

    def active(self, epoch: int) -> int:
        """How many members train in ``epoch``."""
        return self.members - sum(last < epoch for last in self.last_epoch.values())

    def leave(self, names: Iterable[str], epoch: int) -> None:
        """Members that will report no epoch after this one."""
        self.last_epoch.update(dict.fromkeys(names, epoch))

    def __enter__(self) -> Progress:
        self.started = time.monotonic()
        if sys.stdout.isatty():
            from kdsweep.terminal.bar import Bar

            self.bar = Bar(self.title)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
        if error is None:
            seconds = time.monotonic() - self.started
            log.info("%s: %s in %.1f s", self.title, self.epoch_text or "done", seconds)

    def note(self, text: str) -> None:
        """A passing remark on what is being done right now."""
        if self.bar is not None:
            self.texts = (text,)
            self._show()
        else:
            log.debug("%s: %s", self.title, text)

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` optimiser steps."""
        self.done, self.total = done, total
        self._show()

    def _show(self) -> None:
        if self.bar is not None:
            elapsed = time.monotonic() - self.started
            self.bar.update(self.texts, elapsed, done=self.done, total=self.total)

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> None:
        """The metrics of some members after ``epoch`` (from 0); shown once all have got there."""
        reported = self.reported.setdefault(epoch, {})
        reported.update(records)
        if not reported or len(reported) < self.active(epoch):
            return
        self.texts = self._describe(epoch, self.reported.pop(epoch))
        self.epoch_text = self.texts[0]
        now = time.monotonic()
        if self.bar is not None:
            self._show()
        elif now - self.shown >= QUIET_SECONDS and epoch + 1 < self.epochs:
            text = times(now - self.started, self.done, self.total)
            log.info("%s: %s, %s", self.title, self.epoch_text, text)
            self.shown = now

    def _describe(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
        """An epoch in words, and in fewer and fewer of them."""
        scores = [record[self.metric] for record in records.values()]
        losses = [record["train_loss"] for record in records.values()]
        spread = f" ({min(scores):.2f} to {max(scores):.2f})" if len(scores) > 1 else ""
        unit = " %" if self.metric.endswith("accuracy") else ""
        count = f"epoch {epoch + 1}/{self.epochs}"
        loss = f", loss {sum(losses) / len(losses):.4f}"
        score = f", {self.metric} {sum(scores) / len(scores):.2f}"
        return (
            f"{count}{loss}{score}{spread}{unit}",
            f"{count}{score}{spread}{unit}",
            f"{count}{score}{unit}",
            count,
        )
