"""Draws a run: fields at some times, energy, mass and step lengths over time, and a film at constant frame rate.

The field is shown in one map of colours, from deep blue to pale gold, whose lightness rises evenly with u: equal differences
look equal, in print without colours too. The first axis is x, to the right, the second y, upwards; of a cube one sees the
middle plane.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ernest.phasefield.io.files import require_package
from ernest.phasefield.io.snapshots import Snapshots, even_grid
from ernest.phasefield.numeric import number, whole
from ernest.phasefield.solver.solution import Solution
from ernest.storage import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["draw_laws", "draw_snapshots", "limits_of", "palette", "write_film"]

Limits = tuple[float, float]

_INK, _MUTED, _LINE, _CURVE = "#1f2430", "#6b7280", "#d9dade", "#2f55a4"
_PHASES = ((0.25, 0.010, -0.115), (0.58, 0.085, 0.010), (0.91, 0.005, 0.085))
"""Lightness, green to red, blue to yellow (OKLab, Ottosson 2020) of the low, the middle and the high end."""


@cache
def palette() -> np.ndarray:
    """The 256 colours of the map, uint8 `[256, 3]`."""
    share = np.linspace(0, 1, 256)
    lab = np.stack([np.interp(share, (0, 0.5, 1), channel) for channel in zip(*_PHASES, strict=True)])
    to_cones = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ (to_cones @ lab) ** 3, 0, 1)
    display = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * display.T).astype(np.uint8)


def draw_snapshots(path: Path | str, snapshots: Snapshots, limits: Limits | None = None) -> None:
    """Draws one panel for each time, in rows of at most four, in any picture format of matplotlib.

    `limits` are the values at the ends of the map of colours; by default those of `limits_of`.
    """
    planes = [_plane(field) for field in snapshots.fields]
    low, high = limits_of(snapshots.fields) if limits is None else limits
    columns = len(planes) if len(planes) <= 4 else min(4, -(-len(planes) // 2))
    rows = -(-len(planes) // columns)
    curves = snapshots.grid.dimensions == 1
    # Height over width of a panel; a thin box lies in a panel that is less so.
    shape = 0.6 if curves else min(max(snapshots.grid.lengths[1] / snapshots.grid.lengths[0], 0.25), 2.0)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        image = None
        for axes, plane, time in zip(panels, planes, snapshots.times, strict=False):
            axes.set_title(f"t = {time:.3g}", size=10, color=_INK, pad=4)
            if curves:
                axes.plot(snapshots.grid.lines()[0].numpy(), plane, color=_CURVE, linewidth=1.4)
                axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            else:
                box = (0, snapshots.grid.lengths[0], 0, snapshots.grid.lengths[1])
                image = axes.imshow(plane.T, _colours(), vmin=low, vmax=high, origin="lower", extent=box, interpolation="bicubic")
                axes.set_axis_off()
        for axes in panels[len(planes) :]:
            axes.set_visible(False)
        if image is not None:
            ticks = [low, (low + high) / 2, high]
            bar = figure.colorbar(image, ax=panels.tolist(), fraction=0.02, pad=0.01, aspect=24 * rows, ticks=ticks)
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=0)

    _save(path, (2.3 * columns + 0.5, (2.3 * shape + 0.3) * rows), draw)


def draw_laws(path: Path | str, snapshots: Snapshots) -> None:
    """Draws energy, mass and step length over time.

    Of the histories `energy` and `mass` `[steps + 1]` and `step` `[steps]` those present are drawn, over `time` `[steps + 1]`.
    Where half of all steps fall into the first twentieth of the time, its axis is logarithmic.
    """
    known = {name: snapshots.histories[name] for name in ("energy", "mass", "step") if name in snapshots.histories}
    time = snapshots.histories["time"]
    early = time[len(time) // 2] - time[0] < (time[-1] - time[0]) / 20

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(len(known), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (name, values) in zip(panels, known.items(), strict=True):
            _draw_history(axes, name, time - time[0] if early else time, values)
            if early:
                axes.set_xscale("log")
                axes.set_xlim((time[1] - time[0]), time[-1] - time[0])
        panels[-1].set_xlabel("time since the start" if early and time[0] else "time")
        figure.align_ylabels(panels.tolist())

    _save(path, (5.6, 0.5 + 1.6 * len(known)), draw)


def write_film(
    path: Path | str,
    field_at: Callable[[float], Tensor | np.ndarray],
    t0: float,
    t1: float,
    frames: int = 100,
    rate: int = 25,
    pixels: int = 512,
    limits: Limits | None = None,
    lengths: Sequence[float] | None = None,
    member: int | None = None,
) -> None:
    """Writes a film, .mp4 (which needs the package av) or .gif, of `frames` pictures at equal intervals from time `t0` to `t1`,
    shown at `rate` a second.

    `field_at` gives the field `[*points]` of any time: a `Solution` does, whose box is shown in its shape; of a batch it shows
    one `member`. For another function `lengths` are the sides of the box, by default those of square cells. The longer side has
    about `pixels`; `limits` are the values at the ends of the map of colours, by default those of `limits_of`. Of one dimension
    it shows a curve. Raises ValueError for another ending, and for what is not one field on an even spacing.
    """
    path = check_film(path)
    _check_film_numbers(frames, rate, pixels, limits)
    t0, t1, member = number("film t0", t0), number("film t1", t1), None if member is None else whole("film member", member)
    if isinstance(field_at, Solution):
        grid = even_grid(field_at, "film")
        lengths = grid.lengths if lengths is None else lengths
        members = field_at.start.ndim - grid.dimensions
        if members and member is None:
            shape = list(field_at.start.shape[:members])
            raise ValueError(f"film: the solution holds a batch {shape} of fields: say which to show with member=0, 1, ..")
        count = math.prod(field_at.start.shape[:members])
        if member is not None and not 0 <= member < count:
            raise ValueError(f"film: expected member 0 to {count - 1}, got {member}")
    shown = partial(_one_field, field_at, lengths, member)
    times = np.linspace(t0, t1, frames)
    if limits is None:
        limits = limits_of(np.stack([shown(time) for time in times[:: max(1, frames // 10)]]))
    images = (_frame(shown(time), limits, pixels, lengths) for time in times)
    with write_file(path) as aside:
        (_write_mp4 if path.suffix == ".mp4" else _write_gif)(aside, images, rate)


def _check_film_numbers(frames: int, rate: int, pixels: int, limits: Limits | None) -> None:
    for name, value, least in (("frames", frames, 2), ("rate", rate, 1), ("pixels", pixels, 16)):
        if not whole(f"film {name}", value) >= least:
            raise ValueError(f"film: expected {least} {name} or more, got {value}")
    if limits is not None and not limits[0] < limits[1]:
        raise ValueError(f"film: expected limits (low, high) with low < high, got {limits}")


def _one_field(field_at: Callable[[float], Any], lengths: Sequence[float] | None, member: int | None, time: float) -> np.ndarray:
    """The field `[*points]` to show of a time."""
    field = _array(field_at(float(time)))
    dimensions = field_at.grid.dimensions if isinstance(field_at, Solution) else len(lengths) if lengths else None
    if member is not None:
        field = field.reshape(-1, *field.shape[field.ndim - dimensions :])[member] if dimensions else field[member]
    if not 1 <= field.ndim <= 3 or field.ndim != (dimensions or field.ndim):
        expected = f"{dimensions} dimensions, as many as lengths" if dimensions else "one to three dimensions"
        raise ValueError(f"film: expected a field of {expected}, got {list(field.shape)}")
    return field


def check_film(path: Path | str) -> Path:
    """The path, if its ending names a kind of film that can be written here. Raises what `write_film` would raise."""
    path = Path(path)
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"{path}: a name for a film ends in .mp4 or .gif")
    require_package("av" if path.suffix == ".mp4" else None, "an .mp4 film")
    return path


def limits_of(fields: np.ndarray) -> Limits:
    """Colour limits: those of the two phases for fields near u = 0 and u = 1 (mole fractions) or near u = -1 and u = 1, else the
    least and the greatest value.
    """
    low, high = float(fields.min()), float(fields.max())
    if min(low, 1 - high) >= -0.05 and high - low > 0.5:
        return 0.0, 1.0
    if max(abs(low), abs(high)) <= 1.2 and high - low > 0.5:
        return -1.0, 1.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _draw_history(axes: "Axes", name: str, time: np.ndarray, values: np.ndarray) -> None:
    """One curve; of a conserved mass the drift from its first value."""
    label = name
    if name == "step":
        axes.stairs(values, time, baseline=None, color=_CURVE, linewidth=1.2)
        if values.max() > 20 * values.min():
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.15 * values.max())
    else:
        drift = np.abs(values - values[0]).max()
        kept = name == "mass" and drift <= 1e-9 * max(abs(values[0]), 1)
        if kept:
            label, values = "mass − first mass", values - values[0]
        axes.plot(time, values, color=_CURVE, linewidth=0.8 if kept else 1.6)
    axes.set_ylabel(label)


def _plane(field: np.ndarray) -> np.ndarray:
    """The field itself, or the middle plane of a field in three dimensions."""
    return field[:, :, field.shape[2] // 2] if field.ndim == 3 else field


def _array(field: Tensor | np.ndarray) -> np.ndarray:
    return field.detach().cpu().numpy() if isinstance(field, Tensor) else field


def _frame(field: np.ndarray, limits: Limits, pixels: int, lengths: Sequence[float] | None) -> "Image":
    """The field as a picture with even numbers of pixels in the shape of its box, in the map of colours."""
    from PIL import Image

    plane = _plane(field)
    share = (plane.astype(np.float32) - limits[0]) / (limits[1] - limits[0])
    if plane.ndim == 1:
        image = _curve(share, pixels)
    else:
        sides = np.array(lengths[:2] if lengths else plane.shape, dtype=float)
        longer = max(pixels, plane.shape[sides.argmax()])
        width, height = (max(2, 2 * round(side / 2)) for side in (longer * sides / sides.max()).tolist())
        smooth = np.asarray(Image.fromarray(np.flipud(share.T)).resize((width, height), Image.Resampling.BICUBIC))
        image = Image.fromarray(np.rint(255 * smooth.clip(0, 1)).astype(np.uint8))
    image = image.convert("P")
    image.putpalette(palette().tobytes())
    return image


def _curve(share: np.ndarray, pixels: int) -> "Image":
    """Values between 0 and 1 as a curve, brightest on darkest, with a margin of a tenth above and below."""
    from PIL import Image, ImageDraw

    width, height = 2 * (pixels // 2), 2 * (pixels // 4)
    image = Image.new("L", (2 * width, 2 * height), 0)  # drawn at twice the size, for a smooth line
    x, y = np.linspace(0, 2 * width, len(share)), 2 * height * (0.9 - 0.8 * share)
    ImageDraw.Draw(image).line(np.stack([x, y], 1).ravel().tolist(), fill=255, width=5, joint="curve")
    return image.resize((width, height), Image.Resampling.BOX)


def _write_gif(path: Path, images: Iterator["Image"], rate: int) -> None:
    first = next(images)
    first.save(path, "gif", save_all=True, append_images=images, duration=10 * round(100 / rate), loop=0, optimize=False)


def _write_mp4(path: Path, images: Iterator["Image"], rate: int) -> None:
    import av

    first = next(images)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as film:
        stream = film.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "fast"})
        stream.width, stream.height = first.size
        stream.pix_fmt = "yuv420p"
        for image in chain([first], images):
            film.mux(stream.encode(av.VideoFrame.from_image(image.convert("RGB"))))
        film.mux(stream.encode())


def _colours() -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(palette() / 255)


def _save(path: Path | str, size: tuple[float, float], draw: Callable[["Figure"], None]) -> None:
    """Draws on a new figure and saves it, in the style of all our pictures."""
    require_package("matplotlib", "a figure")
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(_STYLE), write_file(path) as aside:
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        draw(figure)
        figure.savefig(aside, dpi=160)


_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
