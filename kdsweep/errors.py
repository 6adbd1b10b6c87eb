"""The ways in which kdsweep ends early, and their exit statuses."""

import signal


class KdsweepError(Exception):
    """An end that is told in one line: what was given, what is allowed, how to mend it."""

    exit_status = 1


class UserError(KdsweepError):
    """The request can't be met as it was made; nothing was trained and nothing was written."""

    exit_status = 2


class TrainingError(KdsweepError):
    """A training run that was rightly asked for could not be finished."""

    exit_status = 1


class WorkerLost(KdsweepError):
    """A process that trained was lost, such as by a kill: the training itself did not fail."""

    exit_status = 1


class Stopped(KeyboardInterrupt):
    """A signal that asks this process to end, such as a scheduler's SIGTERM.

    What Ctrl-C puts in order is put in order for it, too.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def reason_of(interrupt: KeyboardInterrupt) -> str:
    """Why work ends early, in words."""
    return str(interrupt) or "interrupted"


class Refusal(BaseException):
    """Takes an error through Hydra, which warns of an Exception, or prints lines of its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".: ") if lines else type(error).__name__
