"""Draws a chart as SVG text, whose colours the page's style sheet decides for light and dark screens.

Matplotlib writes the colours of `PALETTE`; each becomes the CSS variable of its name. A chart is about as wide as a telephone
and is laid out in a grid on wider screens, so its letters stay legible on both.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = {
    "ink": "#1f2430",
    "muted": "#6b7280",
    "line": "#dcd8cf",
    "text": "#5d6676",
    "image": "#2f62b5",
    "video": "#b4740c",
    "audio": "#17876d",
    "accent": "#a8446b",
}
_WIDTH = 4.6
"""Inches, of 96 CSS pixels each."""


def chart(name: str, draw: Callable[["Axes"], None], height: float, right: float = 0.02) -> str:
    """An SVG with one pair of axes; `right` is the share of the width that is kept for labels of curves."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(rect=(0, 0, 1 - right, 1)))
        axes = figure.add_subplot()
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _svg(name, buffer.getvalue())


def label_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes (x, y, label, colour) to the right of the ends of curves, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    inches = axes.get_figure().get_figheight()  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    room = (high - low) * 0.2 / (inches - 0.7)
    ends = sorted(ends, key=lambda end: end[1])
    heights = _apart(np.array([end[1] for end in ends]), room)
    heights += min(0.0, high - heights[-1])
    for (x, _, label, colour), height in zip(ends, heights, strict=True):
        note = axes.annotate(
            label, (x, height), (7, 0), textcoords="offset points", va="center", color=colour, annotation_clip=False
        )
        note.set_in_layout(False)


def _apart(heights: np.ndarray, room: float) -> np.ndarray:
    """Rising heights, moved as little as possible in the mean until neighbours are `room` apart."""
    blocks: list[tuple[float, int]] = []  # mean of the moved heights, and how many
    for height in heights:
        mean, count = float(height), 1
        while blocks and mean - room * (count - 1) / 2 < blocks[-1][0] + room * (blocks[-1][1] + 1) / 2:
            below, many = blocks.pop()
            mean, count = (below * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    return np.concatenate([mean + room * (np.arange(count) - (count - 1) / 2) for mean, count in blocks])


def _svg(name: str, text: str) -> str:
    """Matplotlib's SVG as part of a page: names of its own, the page's font and colours, no prologue."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:xmlns|xmlns:xlink)="[^"]*"', "", text)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg class="chart" role="img" viewBox="\1">', text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-').replace("xlink:href", "href")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for variable, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{variable})")
    return text


_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ernest",
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.labelcolor": PALETTE["muted"],
    "axes.edgecolor": PALETTE["line"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALETTE["line"],
    "grid.linewidth": 0.7,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["line"],
    "ytick.color": PALETTE["line"],
    "xtick.labelcolor": PALETTE["muted"],
    "ytick.labelcolor": PALETTE["muted"],
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
}
