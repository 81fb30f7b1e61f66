"""Latency beside accuracy as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.findings import Findings, Latency
from benchmarks.lcnet.published import OURS, PEERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = (
    ("OpenVINO/fp32", "LCNet, OpenVINO fp32", "#7a7a7a", "o--"),
    ("native/fp32", "LCNet, native fp32", "#1b6ca8", "o-"),
    ("native/int8", "LCNet, native int8 (accuracy as in fp32)", "#2e933c", "o-"),
)
"""Runtime, its name in the legend, colour and style."""
PEER_COLOUR, LETTERS = "#d1495b", 7.0
Times = Mapping[tuple[str, str], float]
"""Milliseconds by runtime and network."""
Point = tuple[str, float, float, str]
"""A name, milliseconds, accuracy, colour."""


def draw_parts(parts: Mapping[str, Findings], folder: Path) -> None:
    """The widest race that has been run."""
    shown = parts.get("peers") or parts.get("widths") or Findings()
    draw(shown.latencies, folder / "lcnet-latency-accuracy.png")


def draw(latencies: Sequence[Latency], path: Path) -> None:
    """Published accuracy over milliseconds on one thread: ours as lines, other networks as points."""
    times = {(one.runtime, one.network): one.p25 for one in latencies if one.threads == 1}
    if not times:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter

    canvas = Canvas(figsize=(10, 6.6), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    axes.set_xscale("log")
    points = [*_draw_ours(axes, times), *_draw_peers(axes, times)]
    axes.plot([], [], "s", color=PEER_COLOUR, markersize=4, label="other networks, OpenVINO fp32")
    axes.set(xlabel="ms for one image, one thread", ylabel="published top-1 accuracy on ImageNet, %")
    axes.margins(0.08)
    axes.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20]))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="lower right")
    _name_points(canvas, axes, points)
    aside = path.with_name(f"aside-{path.name}")
    canvas.savefig(aside, dpi=130)
    aside.replace(path)


def _draw_ours(axes: "Axes", times: Times) -> list[Point]:
    """Lines of PP-LCNet, and its second version as points."""
    points = []
    for runtime, label, colour, style in LINES:
        known = [(one, times[runtime, one.name], one.top1 or 0.0) for one in OURS if (runtime, one.name) in times]
        first = [(x, y) for one, x, y in known if not one.name.startswith("PPLCNetV2")]
        axes.plot([x for x, _ in first], [y for _, y in first], style, color=colour, label=label, markersize=5)
        for one, x, y in known:
            if one.name.startswith("PPLCNetV2"):
                axes.plot([x], [y], "D", color=colour, markersize=6)
            points.append((one.label.removeprefix("LCNet "), x, y, colour))
    return points


def _draw_peers(axes: "Axes", times: Times) -> list[Point]:
    points = []
    for one in PEERS:
        if one.top1 is not None and ("OpenVINO/fp32", one.name) in times:
            axes.plot([times["OpenVINO/fp32", one.name]], [one.top1], "s", color=PEER_COLOUR, markersize=4)
            points.append((one.label, times["OpenVINO/fp32", one.name], one.top1, PEER_COLOUR))
    return points


def _name_points(canvas: "Figure", axes: "Axes", points: Sequence[Point]) -> None:
    """Writes names beside points, once it is known where these lie on the canvas."""
    canvas.draw_without_rendering()
    pixels = axes.transData.transform([(x, y) for _, x, y, _ in points])
    for (text, x, y, colour), offset in zip(points, placed([text for text, *_ in points], pixels * 72 / canvas.dpi), strict=True):
        axes.annotate(text, (x, y), offset, textcoords="offset points", fontsize=LETTERS, color=colour, va="center")


def placed(texts: Sequence[str], points: np.ndarray) -> list[tuple[float, float]]:
    """Where to write beside each of `points` `[n, 2]`, in typographic points, so that little is written over something else."""
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    chosen = []
    for text, (x, y) in zip(texts, points, strict=True):
        width = 0.6 * LETTERS * len(text)
        spots = [(dx, dy) for dy in (0, -7, 7, -12, 12) for dx in (5, -5 - width)]

        def covered(spot: tuple[float, float], x: float = x, y: float = y, width: float = width) -> int:
            left, low = x + spot[0], y + spot[1] - LETTERS / 2
            return sum(left < x1 and x0 < left + width and low < y1 and y0 < low + LETTERS for x0, y0, x1, y1 in taken)

        best = min(spots, key=covered)
        chosen.append(best)
        taken.append((x + best[0], y + best[1] - LETTERS / 2, x + best[0] + width, y + best[1] + LETTERS / 2))
    return chosen
