"""The charts of the report."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from ernest.evaluation.results import StageTime, SubModelRow
from ernest.evaluation.routing import normalised_entropy, overlaps
from ernest.report.media import ramp
from ernest.report.svg import PALETTE, chart, label_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMOOTH = 0.03
"""The running mean of a curve spans this share of it."""
_SHADES = {"text": "text", "mtp": "accent", "vision": "image", "audio": "audio"}
_WORDS = {"video": ("video", "frame"), "audio": ("speech", "audio", "voice"), "image": ("image", "picture")}


def losses(metrics: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """One chart for each modality that was trained, by its title: loss against the step."""
    charts = {}
    for title, names, unit, guess in (
        ("Text: the next token, and the one after it", {"text": "next", "mtp": "after it"}, "nats per token", None),
        ("Pictures and video: bits of all scales", {"vision": ""}, "nats per bit", np.log(2)),
        ("Speech: codes of all levels", {"audio": ""}, "nats per code", None),
    ):
        curves = {label: (*series(metrics, name), PALETTE[_SHADES[name]]) for name, label in names.items()}
        curves = {label: curve for label, curve in curves.items() if len(curve[0])}
        if curves:
            name = next(iter(names))
            draw = partial(_losses, curves=curves, unit=unit, guess=guess, metrics=metrics)
            charts[title] = chart(f"loss-{name}", draw, 2.6, right=0.17)
    return charts


def _stages(axes: "Axes", metrics: Sequence[Mapping[str, float]]) -> None:
    """A line where rows begin to be longer, with the stage and their length."""
    for before, line in pairwise(metrics):
        if (line.get("stage"), line.get("length")) != (before.get("stage"), before.get("length")):
            axes.axvline(line["step"], color=PALETTE["muted"], linewidth=0.8)
            words = f" stage {line['stage']:.0f}, rows of {line['length']:,.0f}"
            axes.text(line["step"], 0.98, words, transform=axes.get_xaxis_transform(), rotation=90, ha="right", va="top",
                      fontsize=7, color=PALETTE["muted"])  # fmt: skip


def _losses(
    axes: "Axes",
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, str]],
    unit: str,
    guess: float | None,
    metrics: Sequence[Mapping[str, float]],
) -> None:
    ends = draw_curves(axes, curves, ".2f")
    if guess is not None:
        axes.axhline(guess, color=PALETTE["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(
            0.98, guess, "a tossed coin", transform=axes.get_yaxis_transform(), ha="right", va="bottom", color=PALETTE["muted"]
        )
    axes.set_ylim(0, 1.08 * max(*(values.max() for _, values, _ in curves.values()), guess or 0.0))
    _stages(axes, metrics)
    label_ends(axes, ends)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)


def draw_curves(
    axes: "Axes", curves: Mapping[str, tuple[np.ndarray, np.ndarray, str]], form: str
) -> list[tuple[float, float, str, str]]:
    """Draws curves (x, y, colour) by their names, faint, and their running means over them; returns their ends, for `label_ends`,
    with the last mean written in a `form`."""
    ends = []
    for name, (x, y, colour) in curves.items():
        smooth = running_mean(y)
        axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.25)
        axes.plot(x, smooth, color=colour, linewidth=1.8, marker=_dot(x), markersize=4)
        ends.append((x[-1], smooth[-1], f"{name} {smooth[-1]:{form}}".strip(), colour))
    return ends


def speed(metrics: Sequence[Mapping[str, float]]) -> str | None:
    """Positions per second against the step, or None where the log has none."""
    known = [entry for entry in metrics if entry.get("seconds", 0) > 0 and "positions" in entry]
    if not known:
        return None
    steps = np.array([entry["step"] for entry in known])
    rate = np.array([entry["positions"] / entry["seconds"] for entry in known])
    median = float(np.median(rate))

    def draw(axes: "Axes") -> None:
        axes.plot(steps, rate, color=PALETTE["muted"], linewidth=0.7, alpha=0.5, marker=_dot(steps), markersize=4)
        axes.axhline(median, color=PALETTE["ink"], linewidth=1.4)
        axes.set_ylim(0, max(median * 1.4, float(np.quantile(rate, 0.98)) * 1.1))
        label_ends(axes, [(axes.get_xlim()[1], median, f"median\n{median:,.0f}", PALETTE["ink"])])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("step")
        axes.set_ylabel("positions per second")

    return chart("speed", draw, 2.6, right=0.17)


def elastic(submodels: Sequence[SubModelRow]) -> dict[str, str]:
    """Score against the share of parameters that are active, and that are kept, by title: a dot for each sub-model, and for each
    direction a line through the best of at most each size."""
    if not any(row.scores for row in submodels):
        return {}
    svgs = {}
    for title, share in (
        ("By the parameters that are active", "active_share"),
        ("By the parameters that are kept", "total_share"),
    ):
        draw = partial(_elastic, rows=submodels, share=attrgetter(share))
        svgs[title] = chart(f"elastic-{share}", draw, 3.6, right=0.2)
    return svgs


def _elastic(axes: "Axes", rows: Sequence[SubModelRow], share: Callable[[SubModelRow], float]) -> None:
    ends = []
    for direction in dict.fromkeys(direction for row in rows for direction in row.scores):
        known = sorted((100 * share(row), row.scores[direction]) for row in rows if direction in row.scores)
        x, y = np.array(known).T
        best = y >= np.maximum.accumulate(y)
        colour = PALETTE[modality(direction)]
        axes.plot(x, y, color=colour, linewidth=0, marker="o", markersize=3.5, alpha=0.5)
        axes.plot(x[best], y[best], color=colour, linewidth=1.6, linestyle=_line(direction), marker="o", markersize=4)
        ends.append((x[best][-1], y[best][-1], direction, colour))
    axes.set_ylim(bottom=min(0.0, *(end[1] for end in ends)))
    label_ends(axes, ends)
    axes.set_xlabel("% of the full model's")
    axes.set_ylabel("score")


def usage(shares: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Heat maps of the first, a middle and the last layer, by title: the share of each task's choices that an expert takes.

    Experts are sorted by the task that uses them most, so that specialists stand side by side.
    """
    charts = {}
    stack = np.stack(list(shares.values()))
    peak = float(np.quantile(stack, 0.995))
    for title, layer in _three_layers(stack.shape[1]):
        share = stack[:, layer]
        favourite = share.argmax(0)
        order = np.lexsort((-share.max(0), favourite))
        draw = partial(_heat, share=share[:, order], tasks=list(shares), peak=peak)
        charts[title] = chart(f"usage-{layer}", draw, 0.75 + 0.27 * len(shares))
    return charts


def _heat(axes: "Axes", share: np.ndarray, tasks: Sequence[str], peak: float) -> None:
    # The square root keeps small shares apart, which is where experts that many tasks use differ.
    axes.imshow(ramp(np.sqrt(np.clip(share / peak, 0, 1))), aspect="auto", interpolation="none")
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_xticks([])
    experts = share.shape[1]
    axes.set_xlabel(f"{experts} experts · even is {100 / experts:.1f} % of choices, brightest {100 * peak:.0f} %")
    axes.grid(False)


def overlap(shares: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Tables by title, of the first, a middle and the last layer and of the mean of all: intersection over union of two tasks'
    most used experts."""
    tasks = list(shares)
    iou = overlaps(list(shares.values()))
    tables = {title: iou[layer] for title, layer in _three_layers(len(iou))} | {"Mean of all layers": iou.mean(0)}
    height = 1.3 + 0.3 * len(tasks)
    return {
        title: chart(f"overlap-{number}", partial(_table, iou=table, tasks=tasks), height)
        for number, (title, table) in enumerate(tables.items())
    }


def _table(axes: "Axes", iou: np.ndarray, tasks: Sequence[str]) -> None:
    lower = np.tri(len(tasks), k=-1, dtype=bool)[1:, :-1]
    values = iou[1:, :-1]
    colours = np.concatenate([ramp(values), np.where(lower, 255, 0)[..., None].astype(np.uint8)], axis=-1)
    axes.imshow(colours, aspect="auto", interpolation="none")
    for row, column in zip(*np.nonzero(lower), strict=True):
        light = "#f6f3ec" if values[row, column] < 0.6 else "#141a33"  # the same by day and by night, as the cells are
        axes.text(column, row, f"{values[row, column]:.2f}".lstrip("0"), ha="center", va="center", size=9, color=light)
    axes.set_yticks(range(len(tasks) - 1), tasks[1:])
    axes.set_xticks(range(len(tasks) - 1), tasks[:-1], rotation=35, ha="right", rotation_mode="anchor")
    axes.grid(False)


def entropy(shares: Mapping[str, np.ndarray], load: np.ndarray | None = None) -> str:
    """Normalised entropy by layer, a line for each task; `load` `[layers, experts]` adds the mixture of all."""
    from matplotlib.ticker import MaxNLocator

    def draw(axes: "Axes") -> None:
        ends = []
        for task, share in shares.items():
            value = normalised_entropy(share)
            layers = np.arange(1, len(value) + 1)
            axes.plot(
                layers, value, color=PALETTE[modality(task)], linewidth=1.6, linestyle=_line(task), marker="o", markersize=3
            )
            ends.append((float(layers[-1]), float(value[-1]), task, PALETTE[modality(task)]))
        if load is not None:
            value = normalised_entropy(load)
            axes.plot(np.arange(1, len(value) + 1), value, color=PALETTE["ink"], linewidth=2.2)
            ends.append((float(len(value)), float(value[-1]), "all together", PALETTE["ink"]))
        lowest = min(np.min(line.get_ydata(orig=False)) for line in axes.get_lines())
        axes.set_ylim(np.floor(10 * lowest - 0.2) / 10, 1.02)
        label_ends(axes, ends)
        axes.set_xlabel("layer")
        axes.set_ylabel("normalised entropy (1 is even)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return chart("entropy", draw, 3.6, right=0.2)


def stages(parts: Sequence[StageTime]) -> str:
    """A chart of the stages' times: a bar by the clock for each, and a fainter one of processor time behind it. Stages within
    another have fainter names."""

    def draw(axes: "Axes") -> None:
        heights = np.arange(len(parts))
        widest = max(max(part.wall, part.cpu) for part in parts) or 1.0
        axes.barh(heights, [part.cpu for part in parts], height=0.62, color=PALETTE["image"], alpha=0.25, linewidth=0)
        axes.barh(heights, [part.wall for part in parts], height=0.34, color=PALETTE["image"], linewidth=0)
        for y, part in zip(heights, parts, strict=True):
            end = (max(part.wall, part.cpu), y)
            axes.annotate(f"{part.wall:,.0f} / {part.cpu:,.0f}", end, (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(heights, [part.name for part in parts])
        for label, part in zip(axes.get_yticklabels(), parts, strict=True):
            label.set_alpha(0.6 if part.within else 1.0)
        axes.set_xlim(0, widest * 1.3)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("seconds by the clock / summed over processors")

    return chart("stages", draw, 0.8 + 0.3 * len(parts))


def modality(direction: str) -> str:
    """The kind that a direction or task is about, by its name: what is not text."""
    for kind, words in _WORDS.items():
        if any(word in direction for word in words):
            return kind
    return "text"


def generates_media(direction: str) -> bool:
    """Whether a direction such as `text→image` ends in something other than text."""
    _, arrow, end = direction.partition("→")
    return bool(arrow) and not end.strip().startswith("text")


def _line(direction: str) -> str | tuple[float, tuple[float, float]]:
    """Solid where something other than text is made, dashed otherwise."""
    return "-" if generates_media(direction) else (0, (3, 1.5))


def _three_layers(layers: int) -> list[tuple[str, int]]:
    """Titles and numbers of the first, a middle and the last layer, without repeats."""
    named = {0: "First layer", layers // 2: f"Layer {layers // 2 + 1}", layers - 1: "Last layer"}
    return [(title, layer) for layer, title in sorted(named.items())]


def series(metrics: Sequence[Mapping[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of a metric."""
    known = [(entry["step"], entry[name]) for entry in metrics if np.isfinite(entry.get(name, np.nan))]
    steps, values = np.array(known, dtype=float).reshape(-1, 2).T
    return steps, values


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a centred window that is cut at both ends."""
    half = round(_SMOOTH * len(values) / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _dot(steps: np.ndarray) -> str | None:
    """A curve of one or two points needs a mark to be seen."""
    return "o" if len(steps) < 3 else None
