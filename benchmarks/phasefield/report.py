"""Work–precision plots, and the tables of parts that have a page of their own."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks import page
from benchmarks.findings import Findings, Panel
from benchmarks.machine import machine

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8f5fb0", "#e08e0b", "#17becf", "#7a7a7a", "#222222", "#b5651d")


AUDIT = "Audit of the tolerance"
"""Title of the panel that shows a share of the tolerance for each draw instead of curves over seconds."""

OWN_PAGE = {"general": ("general", "large"), "pfhub": ("pfhub",)}
"""Pages of docs and the parts that they show and no other page does (`benchmarks/page.py`)."""


def draw_parts(parts: Mapping[str, Findings], folder: Path) -> None:
    panels = tuple(panel for name, found in parts.items() for panel in found.panels if name not in ("general", "audit"))
    if "audit" in parts:
        plot_audit(parts["audit"].panels[0], folder / "phasefield-audit.png")
    if panels:
        plot(panels, folder / "phasefield-work-precision.png")
    for name, of in OWN_PAGE.items():
        shown = {part: parts[part] for part in of if part in parts}
        if shown:
            commands = ", ".join(f"`python -m benchmarks.phasefield --part {part}`" for part in shown)
            source = f"{machine('torch', 'numpy', 'scipy')}. From {commands}."
            (folder / f"{name}.md").write_text(page.markdown(shown, source) + "\n")
            if panels := tuple(panel for found in shown.values() for panel in found.panels):
                plot(panels, folder / f"{name}-work-precision.png")


def plot(panels: tuple[Panel, ...], path: Path) -> None:
    """Error over seconds, one panel for each comparison, written aside and renamed. Baselines and peers are dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import NullFormatter

    across = min(len(panels), 2)
    down = -(-len(panels) // across)
    canvas = Canvas(figsize=(6.2 * across, 4.4 * down), layout="constrained")
    FigureCanvasAgg(canvas)
    for number, panel in enumerate(panels):
        axes = canvas.add_subplot(down, across, number + 1)
        for colour, (name, curve) in zip(COLOURS * 3, panel.curves.items(), strict=False):
            shown = [(seconds, error) for seconds, error in curve if 0 < error < 0.2]
            ours = name.startswith(("GS", "CGS", "ours"))
            style = {"linestyle": "-" if ours else "--", "marker": "o" if ours else "s", "markersize": 3.5, "linewidth": 1.6}
            if shown:
                axes.loglog(*zip(*shown, strict=True), color=colour, label=name, **style)
        axes.set(title=panel.title, xlabel="seconds of a whole run", ylabel="root mean square error at the end")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.xaxis.set_minor_formatter(NullFormatter())  # less than a decade would be labelled at every tick
        axes.legend(fontsize=8)
    aside = path.with_name(f"aside-{path.name}")
    canvas.savefig(aside, dpi=130)
    aside.replace(path)


def plot_audit(panel: Panel, path: Path) -> None:
    """What each draw used of its tolerance, at the end and between, over the tolerance; above the line a draw has missed it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9.0, 4.6), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot(1, 1, 1)
    for colour, (name, draws) in zip(COLOURS, panel.curves.items(), strict=False):
        shown = [(tolerance, max(used, 1e-8)) for tolerance, used in draws]
        axes.loglog(*zip(*shown, strict=True), "o", color=colour, label=name, markersize=3.0, alpha=0.7)
    axes.axhline(1.0, color="#222222", linewidth=1.2)
    axes.set(title=panel.title, xlabel="tolerance", ylabel="error ÷ allowed")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    aside = path.with_name(f"aside-{path.name}")
    canvas.savefig(aside, dpi=130)
    aside.replace(path)
