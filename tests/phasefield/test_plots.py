"""Pictures and films: the right way up, in the colours of the map, as many frames as wanted, and quick."""

import math
import time as clock
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from ernest.phasefield import AllenCahn, Grid, initial_conditions, plots, solve
from ernest.phasefield.io.snapshots import Snapshots, take_snapshots


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours uint8 `[..., 3]`."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(y) - 16


def bright_corner(x: float = 0.75, y: float = 0.25, n: int = 64) -> np.ndarray:
    """A field of -1 with a spot of 1 where x is large and y small."""
    a, b = np.meshgrid(np.arange(n) / n, np.arange(n) / n, indexing="ij")
    return np.where(np.hypot(a - x, b - y) < 0.12, 1.0, -1.0)


def test_lightness_rises_evenly():
    colours = plots.palette()
    assert colours.shape == (256, 3)
    L = lightness(colours.astype(float))
    assert L[0] < 20
    assert L[-1] > 85
    slope = np.diff(L[::16])
    assert slope.min() > 0.6 * slope.mean()
    assert slope.max() < 1.4 * slope.mean()


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_film_stands_upright_and_keeps_its_rate(tmp_path, ending):
    def field_at(time: float) -> np.ndarray:
        return bright_corner() if time < 2 else -bright_corner()

    av = pytest.importorskip("av")
    path = tmp_path / f"film{ending}"
    plots.write_film(path, field_at, 0.0, 4.0, frames=9, rate=25, pixels=128)
    if ending == ".mp4":
        with av.open(str(path)) as film:
            rate = film.streams.video[0].average_rate
            shown = [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
        times = [float(time) for time, _ in shown]
        frames = [frame.astype(float) for _, frame in shown]
        assert rate == 25
    else:
        with Image.open(path) as film:
            frames, lasting = [], []
            for index in range(film.n_frames):
                film.seek(index)
                frames.append(np.asarray(film.convert("RGB")).astype(float))
                lasting.append(film.info["duration"] / 1000)
        times = np.cumsum([0.0, *lasting[:-1]]).tolist()
    # Frames that are alike may be one longer frame; film of nine frames at 25 a second lasts 0.36 s all the same.
    assert all(math.isclose((b - a) * 25, round((b - a) * 25), abs_tol=1e-6) for a, b in pairwise(times))
    low, high = plots.palette()[[0, -1]].astype(float)
    first, last = frames[0], frames[-1]
    assert first.shape == (128, 128, 3)
    right, below = round(128 * 0.75), round(128 * 0.75)  # y = 0.25 lies a quarter from the bottom
    for frame, spot, rest in ((first, high, low), (last, low, high)):
        assert np.abs(frame[below, right] - spot).max() < (1 if ending == ".gif" else 12)
        assert np.abs(frame[128 - below, right] - rest).max() < (1 if ending == ".gif" else 12)


def test_a_hundred_frames_of_a_solution_in_thirty_seconds(tmp_path):
    pytest.importorskip("av")
    grid = Grid.cube(128, 2 * math.pi)
    solution = solve(AllenCahn(0.01), grid, initial_conditions.seven_circles(grid, 0.01), 1.0, 1e-4, progress=False)
    for ending in (".mp4", ".gif"):
        begun = clock.process_time()
        plots.write_film(tmp_path / f"film{ending}", solution, 0.0, 1.0)
        assert clock.process_time() - begun < 30
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 100
        assert film.size == (512, 512)


def test_films_of_a_line_and_of_a_cube(tmp_path):
    cube = np.repeat(bright_corner()[:, :, None], 4, axis=2) * np.array([1, 1, -1, 1])
    plots.write_film(tmp_path / "cube.gif", lambda t: cube, 0, 1, frames=2, pixels=64)
    with Image.open(tmp_path / "cube.gif") as film:
        shown = np.asarray(film.convert("RGB"))
    assert (shown[48, 48] == plots.palette()[0]).all()  # the middle plane is the one that is turned
    plots.write_film(tmp_path / "line.gif", lambda t: np.linspace(-1, 1, 50), 0, 1, frames=2, pixels=64)
    with Image.open(tmp_path / "line.gif") as film:
        curve = lightness(np.asarray(film.convert("RGB")).astype(float))
    assert curve.shape == (32, 64)
    heights = curve.argmax(0)
    assert heights[2] > heights[31] > heights[61]
    assert heights[31] == pytest.approx(16, abs=1.5)


def grey(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return lightness(np.asarray(image.convert("RGB")).astype(float))


def test_snapshots_stand_upright(tmp_path):
    pytest.importorskip("matplotlib")
    fields = np.stack([bright_corner()])
    plots.draw_snapshots(tmp_path / "one.png", Snapshots(np.array([0.0]), fields, Grid.cube(64, 1.0)))
    shown = grey(tmp_path / "one.png")
    panel = shown < 30
    rows, columns = np.flatnonzero(panel.mean(1) > 0.3), np.flatnonzero(panel.mean(0) > 0.3)
    box = shown[rows[0] : rows[-1], columns[0] : columns[-1]]
    high, wide = box.shape
    assert box[int(0.75 * high), int(0.75 * wide)] > 80
    assert box[int(0.25 * high), int(0.75 * wide)] < 30
    assert 0.95 < high / wide < 1.05


@pytest.mark.parametrize("points", [(32,), (16, 24), (8, 8, 8)])
def test_figures_of_every_dimension(tmp_path, points):
    pytest.importorskip("matplotlib")
    grid = Grid(points, (1.0, 2.0, 1.0)[: len(points)])
    solution = solve(AllenCahn(0.05), grid, initial_conditions.spinodal_noise(grid, waves=1), 1.0, 1e-3, progress=False)
    shown = take_snapshots(solution)
    assert shown.times[[0, -1]].tolist() == [0.0, 1.0]
    for name, draw in (("fields", plots.draw_snapshots), ("laws", plots.draw_laws)):
        for ending in ("png", "svg"):
            draw(tmp_path / f"{name}.{ending}", shown)
            assert (tmp_path / f"{name}.{ending}").stat().st_size > 5000
    assert grey(tmp_path / "laws.png").std() > 3


def test_limits():
    assert plots.limits_of(np.array([-0.99, 0.4])) == (-1.0, 1.0)
    assert plots.limits_of(np.array([-0.01, 0.02])) == (-0.01, 0.02)
    assert plots.limits_of(np.array([0.0, 3.0])) == (0.0, 3.0)
    assert plots.limits_of(np.array([2.0])) == (1.5, 2.5)


def test_what_cannot_be_drawn_is_said_in_a_line(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"film\.avi: a name for a film ends in \.mp4 or \.gif"):
        plots.write_film(tmp_path / "film.avi", lambda t: np.zeros((8, 8)), 0, 1)
    with pytest.raises(ValueError, match="expected 2 frames or more, got 1"):
        plots.write_film(tmp_path / "film.gif", lambda t: np.zeros((8, 8)), 0, 1, frames=1)
    monkeypatch.setattr("ernest.phasefield.io.files.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"an \.mp4 film needs the package av"):
        plots.write_film(tmp_path / "film.mp4", lambda t: np.zeros((8, 8)), 0, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("points", "lengths", "size"), [((64, 64), (4.0, 1.0), (512, 128)), ((32, 48), (1.0, 3.0), (170, 512))])
def test_a_film_keeps_the_shape_of_the_box(tmp_path, points, lengths, size):
    """Whatever the points are: a disk stays one."""
    grid = Grid(points, lengths)
    solution = solve(AllenCahn(0.02), grid, initial_conditions.circle(grid, 0.02), 0.01, step=0.01, progress=False)
    plots.write_film(tmp_path / "f.gif", solution, 0, 0.01, frames=2)
    with Image.open(tmp_path / "f.gif") as film:
        assert film.size == size
        disk = np.asarray(film.convert("L")).astype(float) > 110
    assert np.ptp(np.flatnonzero(disk.any(0))) == pytest.approx(np.ptp(np.flatnonzero(disk.any(1))), rel=0.06)
    plots.write_film(tmp_path / "own.gif", lambda t: bright_corner(), 0, 1, frames=2, pixels=100, lengths=(1.0, 2.0))
    with Image.open(tmp_path / "own.gif") as film:
        assert film.size == (50, 100)


def test_a_film_of_a_batch_shows_the_member_that_is_named(tmp_path):
    grid = Grid.cube(16, 6.0)
    starts = torch.stack([torch.full((16, 16), value, dtype=torch.float64) for value in (-0.5, 0.5)])
    solution = solve(AllenCahn(0.3), grid, starts, 0.1, step=0.05, progress=False)
    with pytest.raises(ValueError, match=r"film: the solution holds a batch \[2\] of fields: say which to show with member=0, 1"):
        plots.write_film(tmp_path / "f.gif", solution, 0, 0.1)
    shades = []
    for member in (0, 1):
        plots.write_film(tmp_path / "f.gif", solution, 0, 0.1, frames=2, limits=(-1, 1), member=member)
        with Image.open(tmp_path / "f.gif") as film:
            shades.append(np.asarray(film.convert("L")).mean())
    assert shades[0] < shades[1] - 50
    with pytest.raises(ValueError, match=r"snapshots: expected member 0 to 1, got 2"):
        take_snapshots(solution, member=2)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"rate": 0}, "film: expected 1 rate or more, got 0"),
        ({"pixels": 4}, "film: expected 16 pixels or more, got 4"),
        ({"limits": (1.0, 1.0)}, r"film: expected limits \(low, high\) with low < high, got \(1.0, 1.0\)"),
        ({"lengths": (1.0,)}, r"film: expected a field of 1 dimensions, as many as lengths, got \[8, 8\]"),
        (
            {"field_at": lambda t: np.zeros((2, 8, 8, 8))},
            r"film: expected a field of one to three dimensions, got \[2",
        ),
    ],
)
def test_a_film_that_cannot_be_is_told_in_a_line(tmp_path, choices, message):
    usual = {"field_at": lambda t: np.zeros((8, 8)), "t0": 0.0, "t1": 1.0, "frames": 2}
    with pytest.raises(ValueError, match=message):
        plots.write_film(tmp_path / "f.gif", **(usual | choices))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lengths", [(10.0, 0.5), (0.5, 10.0)])
def test_figures_of_thin_boxes_have_a_size_that_can_be_shown(tmp_path, lengths):
    pytest.importorskip("matplotlib")
    fields = np.stack([np.resize(bright_corner(), (64, 16))] * 3)
    plots.draw_snapshots(tmp_path / "thin.png", Snapshots(np.arange(3.0), fields, Grid((64, 16), lengths)))
    with Image.open(tmp_path / "thin.png") as image:
        assert max(image.size) < 3000
        assert min(image.size) > 100
