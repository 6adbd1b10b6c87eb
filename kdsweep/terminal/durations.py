"""Durations in the words of a person who waits, and how long a training still takes."""

from __future__ import annotations

_WARM = 10  # at most a tenth of a training counts as its start


def duration(seconds: float) -> str:
    """Seconds in words: 17 s, 2 min 5 s, 1 h 3 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Estimate:
    """How long a training still takes, by its pace once it is warm.

    The first epoch, or a tenth of a training of fewer than ten, starts processes, compiles, and
    fills the bank of teacher outputs: it says nothing of the others.

    Args:
        epochs: of the training.
    """

    def __init__(self, epochs: int) -> None:
        self.warm = max(epochs, _WARM)
        self.done, self.total = 0, 1
        self.at = 0.0
        self.mark: tuple[float, int] | None = None  # when the start was over, after which step

    def step(self, now: float, done: int, total: int) -> None:
        """``done`` of ``total`` steps at the time ``now``, in seconds."""
        self.done, self.total, self.at = done, total, now
        if self.mark is None and done * self.warm >= total:
            self.mark = now, done

    @property
    def fraction(self) -> float:
        """Of the training, 0 to 1."""
        return self.done / self.total

    @property
    def pace(self) -> float | None:
        """Seconds of the whole training at its present pace; None while that is not known."""
        if self.mark is None or self.done <= self.mark[1] or self.at <= self.mark[0]:
            return None
        return (self.at - self.mark[0]) / (self.done - self.mark[1]) * self.total

    def left(self, now: float) -> float | None:
        """Seconds from now on; None while they are not known."""
        pace = self.pace
        if pace is None:
            return None
        return max(0.0, pace * (1 - self.fraction) - (now - self.at))
