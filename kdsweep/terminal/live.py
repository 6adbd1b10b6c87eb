"""Lines at the end of a terminal that are drawn again and again, with all else above them.

After each drawing the cursor rests at the beginning of the first of these lines, so the next one
erases from there to the end of the screen whatever has become of them: no count of rows that a
resize, or a terminal that wraps them anew, could make wrong.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleRenderable, RenderHook
from rich.control import Control
from rich.segment import ControlType, Segment

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderResult

    from kdsweep.terminal.display import Display

REFRESH_SECONDS = 0.25
ERASE = "\r\x1b[J"  # from the cursor's line to the end of the screen
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor

Lines = Callable[[int], list[str]]  # for so many columns


class _Raw:
    """Text that goes to the terminal as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self.text, None, [(ControlType.CARRIAGE_RETURN,)])


class Live(RenderHook):
    """Draws lines until it is stopped; what is printed or logged meanwhile goes above them.

    Args:
        console: of the terminal.
        lines: what is drawn.
        owner: whose lines they are.
        seconds: between drawings; None: only when ``refresh`` is called.
    """

    def __init__(
        self,
        console: Console,
        lines: Lines,
        *,
        owner: Display,
        seconds: float | None = REFRESH_SECONDS,
    ) -> None:
        self.owner = owner
        self.console = console
        self.lines = lines
        self.seconds = seconds
        self.stopped = threading.Event()
        self.streams: dict[str, TextIO] = {}
        self.thread = threading.Thread(target=self._redraw, daemon=True)

    def start(self) -> None:
        """Draw, and take the standard streams over."""
        self.console.push_render_hook(self)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                self.streams[name] = stream
                above = Above(stream, self)
                setattr(sys, name, above)
                _redirect(stream, above)
        self.write(HIDE)
        if self.seconds is not None:
            self.thread.start()

    def stop(self) -> None:
        """Erase the lines, and give the streams back."""
        if self.stopped.is_set():
            return
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join()
        for name, stream in self.streams.items():
            above = getattr(sys, name)
            if isinstance(above, Above):
                above.finish()
                setattr(sys, name, stream)
                _redirect(above, stream)
        self.console.pop_render_hook()
        with contextlib.suppress(OSError):
            self.console.print(_Raw(ERASE + SHOW))

    def refresh(self) -> None:
        """Draw the lines as they are now."""
        self.console.print(Control())

    def write(self, text: str) -> None:
        """Whole lines above those that are drawn."""
        width, _ = self._size()
        lines = [wrapped(line, width) for line in text.split("\n")]
        self.console.print(_Raw("\n".join(lines)))

    def _redraw(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone
            while not self.stopped.wait(self.seconds):
                self.refresh()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """What is printed, with the lines below it."""
        width, height = self._size()
        lines = self.lines(max(width - 1, 1))[-max(height - 1, 1) :]
        up = f"\r\x1b[{len(lines) - 1}A" if len(lines) > 1 else "\r"
        return [_Raw(ERASE), *renderables, _Raw("\n".join(lines) + up)]

    def _size(self) -> tuple[int, int]:
        """Of the terminal as it is now: the console would go by $COLUMNS."""
        try:
            size = os.get_terminal_size(self.console.file.fileno())
        except (OSError, ValueError, io.UnsupportedOperation):
            return self.console.size
        return (size.columns, size.lines) if size.columns else self.console.size


class Above:
    """A standard stream while something is drawn below it: whole lines go above that.

    Args:
        stream: the terminal's.
        live: what is drawn.
    """

    def __init__(self, stream: TextIO, live: Live) -> None:
        self.stream = stream
        self.live = live
        self.rest = ""
        self.lock = threading.RLock()

    def write(self, text: str) -> int:
        """Keep the text until its line is whole."""
        if self.live.stopped.is_set():
            return self.stream.write(text)
        with self.lock:
            whole, newline, self.rest = (self.rest + text).rpartition("\n")
            if newline:
                self.live.write(whole + newline)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Each as ``write`` does."""
        for line in lines:
            self.write(line)

    def finish(self) -> None:
        """Write what never became a line."""
        with self.lock:
            if self.rest:
                self.live.write(f"{self.rest}\n")
                self.rest = ""

    def flush(self) -> None:
        """Nothing is kept back but a line that is not whole."""
        self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def wrapped(line: str, width: int) -> str:
    """A sentence in lines of so many columns; what is indented, to be copied, stays whole."""
    if len(line) <= width or line.startswith(" ") or "\x1b" in line:
        return line
    return textwrap.fill(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _redirect(old: object, new: TextIO | Above) -> None:
    """Let the handlers of logging that write to one stream write to another."""
    for handler in _handlers():
        # One without a stream of its own follows the standard stream by itself.
        if isinstance(handler, logging.StreamHandler) and vars(handler).get("stream") is old:
            handler.setStream(new)


def _handlers() -> Iterator[logging.Handler]:
    yield from logging.root.handlers
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers
