"""What a person sees while a population trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

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
        self.bar: RichProgress | None = None
        self.heard: dict[int, dict[str, Mapping[str, float]]] = {}  # by epoch
        self.left: dict[str, int] = {}  # members that stopped, and their last epoch

    def expected(self, epoch: int) -> int:
        """How many members will report ``epoch``."""
        return self.members - sum(last < epoch for last in self.left.values())

    def leave(self, names: Iterable[str], epoch: int) -> None:
        """Members that will report no epoch after this one."""
        self.left.update(dict.fromkeys(names, epoch))

    def __enter__(self) -> Progress:
        self.started = time.monotonic()
        if sys.stdout.isatty():
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=None, text="")
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
            self.bar.update(self.task, text=text)
        else:
            log.debug("%s: %s", self.title, text)

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` optimiser steps."""
        self.done, self.total = done, total
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total)

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> None:
        """The metrics of some members after ``epoch`` (from 0); told once all have got there."""
        heard = self.heard.setdefault(epoch, {})
        heard.update(records)
        if not heard or len(heard) < self.expected(epoch):
            return
        records = self.heard.pop(epoch)
        scores = [record[self.metric] for record in records.values()]
        losses = [record["train_loss"] for record in records.values()]
        mean = sum(scores) / len(scores)
        spread = f" ({min(scores):.2f} to {max(scores):.2f})" if len(scores) > 1 else ""
        unit = " %" if self.metric.endswith("accuracy") else ""
        self.epoch_text = (
            f"epoch {epoch + 1}/{self.epochs}, loss {sum(losses) / len(losses):.4f}, "
            f"{self.metric} {mean:.2f}{spread}{unit}"
        )
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, text=self.epoch_text)
        elif now - self.shown >= QUIET_SECONDS and epoch + 1 < self.epochs:
            left = (now - self.started) / max(self.done, 1) * (self.total - self.done)
            log.info("%s: %s, %s left", self.title, self.epoch_text, _clock(left))
            self.shown = now


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
