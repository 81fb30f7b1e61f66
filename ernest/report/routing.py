"""Writes what experts specialise in: the three figures of ERNIE 5.0 (Fig. 8 to 10) as pictures, and their numbers as CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernest.evaluation.specialisation import AUDIO, IMAGE_IN, IMAGE_OUT, TEXT, VIDEO_IN, VIDEO_OUT, Specialisation, chance_overlap
from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    TEXT: PALETTE["text"],
    IMAGE_IN: PALETTE["image"],
    IMAGE_OUT: PALETTE["image"],
    VIDEO_IN: PALETTE["video"],
    VIDEO_OUT: PALETTE["video"],
    AUDIO: PALETTE["audio"],
}
DASHED = (IMAGE_OUT, VIDEO_OUT)
"""Groups that share their colour with one that understands."""


def write_routing(folder: Path, found: Specialisation) -> list[Path]:
    """Writes `utilisation`, `overlap`, `entropy` and `information`, each as CSV and as picture; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in tables(found).items():
        write_csv(folder / f"{name}.csv", header, rows)
    draw = {"utilisation": _utilisation, "overlap": _overlap, "entropy": _entropy, "information": _information}
    for name, drawn in draw.items():
        write_picture(folder / f"{name}.png", drawn(found))
    return [folder / f"{name}{ending}" for name in draw for ending in (".csv", ".png")]


def summary(found: Specialisation) -> list[str]:
    """Lines for the terminal: where the documents are from, how even each group is, what layers tell of groups, which overlap."""
    counted = ", ".join(f"{(found.labels == g).sum()} {name}" for g, name in enumerate(found.groups))
    mean, quantile = chance_overlap(found.experts, found.top)
    overlap, names = found.overlap.mean(0), found.groups
    width = max(map(len, names))
    return [
        f"documents of {found.source}: {counted}",
        f"{'':{width}}  entropy, first to last layer    largest share of an expert",
        *(f"{name:{width}}  {' '.join(f'{value:.2f}' for value in found.entropy[g])}    {found.usage[g].max():.0%}"
          for g, name in enumerate(names)),
        f"overlap of the {found.top} most used experts, mean of all layers (two random sets {mean:.2f}, one of 1,000 layers more "
        f"than {quantile:.2f}; a group with itself: two halves of its documents)",
        *(f"{name:{width}}  {' '.join(f'{overlap[g, h]:.2f}' for h in range(g + 1))}" for g, name in enumerate(names)),
        f"bits that an expert tells of the group, by layer: {' '.join(f'{bits:.3f}' for bits in found.information)}; "
        f"labels shuffled {len(found.shuffled):,} times at most {found.shuffled.max():.3f}, chance p ≤ {found.chance.max():.2g}",
    ]  # fmt: skip


def tables(found: Specialisation) -> dict[str, tuple[Sequence[str], list[Sequence[object]]]]:
    """The header and the rows of each file; layers count from 1."""
    layers, experts = range(found.layers), range(found.experts)
    groups = list(enumerate(found.groups))
    quantile = np.quantile(found.shuffled, 0.999, axis=0)
    return {
        "utilisation": (
            ("group", "layer", "expert", "share"),
            [(name, layer + 1, e, f"{found.usage[g, layer, e]:.6f}") for g, name in groups for layer in layers for e in experts],
        ),
        "overlap": (
            ("layer", "group", "other", "iou"),
            [
                (layer + 1, name, other, f"{found.overlap[layer, g, h]:.4f}")
                for layer in layers
                for g, name in groups
                for h, other in groups[g:]
            ],
        ),
        "entropy": (
            ("group", "layer", "normalised entropy"),
            [(name, layer + 1, f"{found.entropy[g, layer]:.4f}") for g, name in groups for layer in layers],
        ),
        "information": (
            ("layer", "bits", "shuffled, mean", "shuffled, 99.9 %", "chance"),
            [
                (layer + 1, *(f"{value:.5f}" for value in (found.information[layer], found.shuffled[:, layer].mean(),
                                                           quantile[layer], found.chance[layer])))
                for layer in layers
            ],
        ),
    }  # fmt: skip


def three_layers(layers: int) -> dict[str, int]:
    """The first, a middle and the last layer by name, as the report shows them."""
    return {"first layer": 0, "middle layer": layers // 2, "last layer": layers - 1}


def _utilisation(found: Specialisation) -> "Figure":
    """A bar for each expert, in the order of their numbers: a row for each group, a column for each of three layers."""
    figure, shown = new_figure(10, 1.3 * len(found.groups) + 0.6), three_layers(found.layers)
    axes = figure.subplots(len(found.groups), 3, sharex=True, squeeze=False)
    for g, group in enumerate(found.groups):
        for column, (title, layer) in enumerate(shown.items()):
            one = axes[g, column]
            one.stairs(100 * found.usage[g, layer], fill=True, color=COLOURS[group])
            one.axhline(100 / found.experts, color=PALETTE["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
            one.set_title(title if g == 0 else "", fontsize=10)
            _plain(one)
        axes[g, 0].set_ylabel(group.replace(" ", "\n"), fontsize=9)
    figure.supxlabel(f"expert (dashed: even, {100 / found.experts:.1f} %)", fontsize=9)
    figure.supylabel("% of the group's choices", fontsize=9)
    return figure


def _overlap(found: Specialisation) -> "Figure":
    """A table of shades for each of three layers; on the diagonal two halves of one group's documents."""
    figure, mean = new_figure(13, 4.6), chance_overlap(found.experts, found.top)[0]
    names = [group.replace("understanding", "underst.").replace("generation", "gener.") for group in found.groups]
    for axes, (title, layer) in zip(figure.subplots(1, 3), three_layers(found.layers).items(), strict=True):
        iou = found.overlap[layer]
        axes.imshow(iou, vmin=0, vmax=1, cmap="cividis")
        for row, column in np.ndindex(*iou.shape):
            light = "white" if iou[row, column] < 0.55 else "black"
            axes.text(column, row, f"{iou[row, column]:.2f}", ha="center", va="center", fontsize=9, color=light)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names, fontsize=8)
    figure.supxlabel(f"intersection over union of the {found.top} most used experts; two random sets share {mean:.2f}; "
                     "diagonal: two halves of the group's documents", fontsize=9)  # fmt: skip
    return figure


def _entropy(found: Specialisation) -> "Figure":
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for g, group in enumerate(found.groups):
        style = "--" if group in DASHED else "-"
        axes.plot(np.arange(1, found.layers + 1), found.entropy[g], style, marker="o", markersize=4, color=COLOURS[group],
                  label=group)  # fmt: skip
    axes.set_ylim(top=1.005)
    _over_layers(axes, "normalised entropy (1: even)")
    return figure


def _information(found: Specialisation) -> "Figure":
    """What an expert tells of the group, beside what it tells under shuffled labels."""
    figure, layers = new_figure(7, 3.4), np.arange(1, found.layers + 1)
    axes = figure.subplots()
    axes.plot(layers, found.information, "-o", color=PALETTE["image"], label="as it is")
    low, high = np.quantile(found.shuffled, (0.001, 0.999), axis=0)
    axes.fill_between(layers, low, high, color=PALETTE["accent"], alpha=0.4, linewidth=0, label="labels shuffled, 99.8 %")
    axes.set_ylim(bottom=0)
    _over_layers(axes, "bits that an expert tells of the group")
    return figure


def _over_layers(axes: "Axes", shown: str) -> None:
    """Names both axes of lines over the layers, with the legend beside them."""
    axes.set_xlabel("layer")
    axes.set_ylabel(shown)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _plain(axes)


def _plain(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
