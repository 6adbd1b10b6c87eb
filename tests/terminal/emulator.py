"""A terminal whose screen a test reads."""

from __future__ import annotations

import io

import pyte


class Terminal(io.StringIO):
    """What a stream is written to, with its screen; its size is the console's to say."""

    encoding = "utf-8"

    def __init__(self, columns: int, rows: int = 12) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        self.screen.set_mode(pyte.modes.LNM)  # as a terminal's driver does with line ends
        self.stream = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.stream.feed(text)
        return len(text)

    def resize(self, columns: int) -> None:
        self.screen.resize(self.screen.lines, columns)

    @property
    def shown(self) -> list[str]:
        """The lines of the screen, without the empty ones at its end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().splitlines()
