"""The report of a run of reinforcement learning: scores before and after, curves, and what was made at both ends."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ernest.evaluation.results import Sample
from ernest.report.charts import draw_curves, series
from ernest.report.document import document
from ernest.report.page import gallery, grid
from ernest.report.svg import PALETTE, chart, label_ends
from ernest.rl.assess import Look, read_looks
from ernest.storage import read_json, read_log, write_text
from ernest.world import video

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = {
    "Passed": ("share of responses", ("passed", "part family", "part energy law", "watched area law")),
    "Entropy by modality": ("nats per element", ("entropy text", "entropy vision", "entropy audio")),
    "Distance from the start": ("KL, nats per element", ("kl",)),
    "Left out by the masks": ("share of the weight", ("masked", "removed", "clipped", "well learned")),
    "Age of what is trained": ("updates", ("age",)),
    "Prompts without signal": ("prompts of a step", ("prompts without signal",)),
}
FAILED = ("Verdicts that failed", ("verdicts of a step", ("failed verdicts",)))
"""A curve of those runs that had some."""


def write_rl_report(run: Path) -> Path:
    """Writes `run/report.html` from its log and its looks; returns its path."""
    metrics = read_log(run / "metrics.jsonl")
    looks = read_looks(run)
    scores = _scores([found for found, _ in looks])
    sections = {"Scores": scores, "How it learned": _curves(metrics), **_failures(metrics), **_samples(looks)}
    recipe = read_json(run / "recipe.json")
    tasks = ", ".join(task["task"] for task in recipe["tasks"])
    lead = escape(f"{len(metrics)} updates of {tasks} by {recipe['objective']['method']}, on fresh draws.")
    path = run / "report.html"
    write_text(path, document("Ernest: reinforcement learning", lead, sections))
    return path


def _scores(looks: Sequence[Sequence[Look]]) -> str:
    """One line for each task and verifier, the first look beside the last."""
    if not looks:
        return ""
    rows = []
    for first in looks[0]:
        last = next((one for one in looks[-1] if one.task == first.task), first)
        lines = {"all that reward": (first.passed, last.passed)}
        lines |= {name: (value, last.verifiers[name]) for name, value in first.verifiers.items()}
        if first.distance is not None and last.distance is not None:
            lines["mean distance of first frames, levels of 255"] = first.distance, last.distance
            lines["distinct first frames"] = first.distinct or 0.0, last.distinct or 0.0
        if first.failed or last.failed:
            lines["verdicts that failed"] = first.failed, last.failed
        for name, (before, after) in lines.items():
            cells = f"<td>{before:.3f}</td><td>{after:.3f}</td><td>{after - before:+.3f}</td><td>{last.count:,}</td>"
            rows.append(f'<tr><th scope="row">{escape(first.task)}: {escape(name)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("", "before", "after", "change", "n"))
    return f'<table class="scores"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _curves(metrics: Sequence[Mapping[str, float]]) -> str:
    charts = {}
    curves = CURVES | dict([FAILED] if any(entry.get("failed verdicts") for entry in metrics) else [])
    for title, (unit, names) in curves.items():
        known = {name: curve for name in names if len((curve := series(metrics, name))[0])}
        if known:
            charts[title] = chart(f"rl-{len(charts)}", partial(_draw, curves=known, unit=unit), 2.6, right=0.2)
    return grid(charts) if charts else ""


def _failures(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Why verdicts failed, and how many did; nothing where all were given."""
    counts: Counter[str] = Counter()
    for entry in metrics:
        counts.update(entry.get("failures", {}))
    lines = [f'<tr><th scope="row">{escape(reason)}</th><td>{count:,}</td></tr>' for reason, count in counts.most_common(10)]
    return {FAILED[0]: f'<table class="scores"><tbody>{"".join(lines)}</tbody></table>'} if lines else {}


def _draw(axes: "Axes", curves: Mapping[str, tuple[np.ndarray, np.ndarray]], unit: str) -> None:
    named = zip(curves.items(), ("accent", "image", "text", "audio"), strict=False)
    ends = draw_curves(axes, {name: (*curve, PALETTE[colour]) for (name, curve), colour in named}, ".3g")
    axes.set_ylim(0, 1.08 * max(float(values.max()) for _, values in curves.values()) or 1.0)
    label_ends(axes, ends)
    axes.set_xlabel("update")
    axes.set_ylabel(unit)


def _samples(looks: Sequence[tuple[Sequence[Look], Mapping[str, np.ndarray]]]) -> dict[str, str]:
    """What was made at the first look and at the last, from the same prompts."""
    if not looks:
        return {}
    found = {}
    for title, (_, made) in {"Made before": looks[0], "Made after": looks[-1]}.items():
        samples = [_sample(name, pixels) for name, pixels in made.items()]
        found[title] = gallery(samples, {"made": (title, "Fresh draws; the mark is the verdict of all verifiers that reward.")})
    return found


def _sample(name: str, pixels: np.ndarray) -> Sample:
    _, _, passed, words = name.split("/", 3)
    is_physics = pixels.ndim == 4 and words in video.FAMILIES
    curve = video.energies(pixels) if is_physics else None
    lawful = bool(video.obeys_energy_law(pixels)) if is_physics else None
    return Sample("made", words, None, pixels, None, curve, passed == "1", lawful)
