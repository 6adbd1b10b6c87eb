"""How every picture looks: one colour for each role, told apart by all eyes (Okabe and Ito)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
COLOURS = {
    "teacher": "#0072B2",
    "baseline": "#4D4D4D",
    "distilled": "#E69F00",
    "best": "#D55E00",
    "better": "#0072B2",
    "worse": "#D55E00",
    "equivalent": "#009E73",
    "open": "#808080",
    "dropped": "#CC79A7",
}
MARKERS = {"better": "^", "equivalent": "s", "open": "o", "dropped": "X", "worse": "v"}


@contextmanager
def styled() -> Iterator[None]:
    """The settings, for the figures made inside and for nobody else's."""
    import matplotlib as mpl

    with mpl.rc_context(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "figure.constrained_layout.use": True,
            "font.size": 9.5,
            "grid.color": "#E3E3E3",
            "legend.frameon": False,
            "text.parse_math": False,  # a dollar sign in a label is a dollar sign
        }
    ):
        yield


def wrapped(label: str) -> str:
    """A label in lines that leave room for the picture."""
    return textwrap.fill(label, 44)


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Put a legend under the picture, on paper that is added for it."""
    width, height = figure.get_size_inches()
    texts = [wrapped(label) for label in labels]
    widest = max(len(line) for text in texts for line in text.split("\n"))
    columns = max(1, min(len(texts), 4, int(width / (0.09 * widest + 0.6))))
    each = -(-len(texts) // columns)  # a column is filled before the next one
    filled = [texts[i : i + each] for i in range(0, len(texts), each)]
    lines = max(sum(text.count("\n") + 1 for text in column) for column in filled)
    figure.set_size_inches(width, height + 0.2 * lines)
    figure.legend(handles, texts, loc="outside lower center", ncols=columns)


def page_width(labels: Sequence[str]) -> float:
    """Inches for a column of labels and the picture behind it."""
    return max(8.0, 5.2 + 0.085 * max(map(len, labels)))


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, in inches, that belongs to no window and to no global state."""
    from kdsweep.report.picture import Picture

    figure = Picture(figsize=(width, height), dpi=DPI)
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])
