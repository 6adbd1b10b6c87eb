"""The progress of one training: in the display of the terminal, or in plain lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from types import TracebackType

from kdsweep.terminal.display import Display
from kdsweep.terminal.durations import Estimate, duration
from kdsweep.terminal.screen import Now

log = logging.getLogger(__name__)
QUIET_SECONDS = 2.0  # between plain lines, so that a log stays readable


class Progress:
    """The progress of one training of one or more students.

    Args:
        title: what is being trained.
        display: where it is shown.
        epochs: how many.
        metric: which of the epoch's metrics is shown, such as val_accuracy.
        members: how many train; they may report an epoch in parts.
        images: of an epoch of one member; 0: not known.
        counts: whether its members are among the sweep's trainings.
    """

    def __init__(
        self,
        title: str,
        display: Display,
        *,
        epochs: int,
        metric: str,
        members: int = 1,
        images: int = 0,
        counts: bool = False,
    ) -> None:
        self.title = title
        self.display = display
        self.members = members
        self.epochs = epochs
        self.metric = metric
        self.images = images
        self.counts = counts
        self.started = display.clock()
        self.shown = -QUIET_SECONDS
        self.estimate = Estimate(epochs)
        self.epoch_text = ""
        self.texts: tuple[str, ...] = ("",)  # for the display, the longest first
        self.reported: dict[int, dict[str, Mapping[str, float]]] = {}  # by epoch
        self.last_epoch: dict[str, int] = {}  # of members that stopped

    def active(self, epoch: int) -> int:
        """How many members train in ``epoch``."""
        return self.members - sum(last < epoch for last in self.last_epoch.values())

    def leave(self, names: Iterable[str], epoch: int) -> None:
        """Members that will report no epoch after this one."""
        self.last_epoch.update(dict.fromkeys(names, epoch))

    def __enter__(self) -> Progress:
        self.started = self.display.clock()
        self.display.begin(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = self.display.clock() - self.started
        self.display.end(self, trained=error is None)
        if error is None:
            log.info("%s: %s in %.1f s", self.title, self.epoch_text or "done", seconds)

    def note(self, text: str) -> None:
        """A passing remark on what is being done right now."""
        self.texts = (text,)
        log.debug("%s: %s", self.title, text)

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` optimiser steps."""
        self.estimate.step(self.display.clock(), done, total)

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> None:
        """The metrics of some members after ``epoch`` (from 0); shown once all have got there."""
        reported = self.reported.setdefault(epoch, {})
        reported.update(records)
        if not reported or len(reported) < self.active(epoch):
            return
        self.texts = self._describe(epoch, self.reported.pop(epoch))
        self.epoch_text = self.texts[0]
        now = self.display.clock()
        due = now - self.shown >= QUIET_SECONDS and epoch + 1 < self.epochs
        if due and not self.display.is_drawn:
            left = self.left
            rest = "" if left is None else f", about {duration(left)} left"
            so_far = f"{duration(now - self.started)} so far"
            log.info("%s: %s; %s%s", self.title, self.epoch_text, so_far, rest)
            self.shown = now

    @property
    def left(self) -> float | None:
        """Seconds that it still takes; None while they are not known."""
        return self.estimate.left(self.display.clock())

    def now(self, sweep_left: float | None) -> Now:
        """How far it is.

        Args:
            sweep_left: seconds of all trainings at most; None: not known, or of no sweep.
        """
        return Now(
            title=self.title,
            texts=self.texts,
            so_far=self.display.clock() - self.started,
            fraction=self.estimate.fraction,
            left=self.left,
            sweep_left=sweep_left,
            speed=self._speed(),
        )

    def _speed(self) -> str:
        pace = self.estimate.pace
        if pace is None or not self.images:
            return ""
        return f"{self.images * self.epochs * self.members / pace:,.0f} images/s"

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
