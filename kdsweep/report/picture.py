"""A figure that a notebook shows by itself."""

from __future__ import annotations

from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib figure; notebooks show it, whatever matplotlib's backend is."""

    def _repr_png_(self) -> bytes:
        from kdsweep.report.pictures import png

        return png(self)
