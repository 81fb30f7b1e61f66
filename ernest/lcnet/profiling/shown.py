"""Shows a profile: a table for a terminal, and a picture of the layers beside their bounds."""

from pathlib import Path
from typing import TYPE_CHECKING

from ernest import storage
from ernest.lcnet.profiling.profile import Layer, Profile

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {"compute": "#1b6ca8", "memory": "#e08e0b"}


def table(found: Profile) -> "Table":
    """For `rich`: a line a layer, their sum, and what was measured of the machine below."""
    from rich.table import Table

    shown = Table(title=None, caption=found.summary(), caption_justify="left")
    shown.add_column("layer")
    for heading in ("µs", "of all", "MFLOP", "GFLOP/s", "KiB", "bound, µs", "share"):
        shown.add_column(heading, justify="right")
    shown.add_column("limit")
    for layer in found.layers:
        shown.add_row(layer.name, *_cells(layer, found.seconds), layer.limit if layer.flops else "")
    flops, size = sum(layer.flops for layer in found.layers), sum(layer.bytes for layer in found.layers)
    shown.add_section()
    together = Layer("all layers", "", found.seconds, flops, size, found.bound, "compute")
    shown.add_row(together.name, *_cells(together, found.seconds), "")
    return shown


def _cells(layer: Layer, whole: float) -> tuple[str, ...]:
    times = f"{1e6 * layer.seconds:,.1f}", f"{layer.seconds / whole:.1%}"
    if not layer.flops:
        return *times, "", "", "", "", ""
    work = f"{layer.flops / 1e6:,.2f}", f"{layer.flops / layer.seconds / 1e9:,.0f}", f"{layer.bytes / 1024:,.0f}"
    return *times, *work, f"{1e6 * layer.bound:,.1f}", f"{layer.share:.0%}"


def draw(found: Profile, path: str | Path) -> None:
    """A bar a layer, its bound drawn into it, as a picture of the kind that the path's ending names; written aside, then renamed.

    Raises ImportError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'ernest-ai[demo]'") from error

    path, rows = Path(path), range(len(found.layers))
    canvas = Figure(figsize=(9, 1.8 + 0.24 * len(found.layers)), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    axes.barh(rows, [1e6 * layer.seconds for layer in found.layers], color="#d5d9de")
    colours = [COLOURS[layer.limit] for layer in found.layers]
    axes.barh(rows, [1e6 * layer.bound for layer in found.layers], color=colours, height=0.45)
    for row, layer in enumerate(found.layers):
        if layer.flops:
            style = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "size": 8}
            axes.annotate(f"{layer.share:.0%}", (1e6 * layer.seconds, row), **style)
    axes.set_yticks(rows, [layer.name for layer in found.layers], size=8)
    axes.invert_yaxis()
    axes.margins(x=0.08, y=0.01)
    axes.set(xlabel="µs", title="\n".join(found.summary().splitlines()[:2]))
    axes.title.set_fontsize(9)
    handles = [Patch(color="#d5d9de", label="measured")]
    handles += [Patch(color=colour, label=f"roofline: {limit}") for limit, colour in COLOURS.items()]
    axes.legend(handles=handles, loc="upper right", fontsize=8)
    with storage.write_file(path) as aside:
        canvas.savefig(aside, dpi=130)
