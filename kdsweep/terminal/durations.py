"""Durations in the words of a person who waits."""

from __future__ import annotations


def times(elapsed: float, done: int, total: int) -> str:
    """How long it has taken and, where that can be known, how long it will: 17 s, 26 s left."""
    if done <= 0:
        return duration(elapsed)
    return f"{duration(elapsed)}, {duration(elapsed / done * (total - done))} left"


def duration(seconds: float) -> str:
    """Seconds in words: 17 s, 2 min 5 s, 1 h 3 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
