"""A window of a resized picture is that part of the whole, whatever the shape, and costs what it holds."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.lcnet.image_io.resize import Kernel, resize_window

SIDES = st.integers(1, 90)


def whole(picture: np.ndarray, size: tuple[int, int], kernel: Kernel, antialias: bool) -> np.ndarray:
    """All of it, by a matrix for each direction; width first and rounded in between with antialiasing."""
    down, across = (weights(*sides, kernel, antialias) for sides in zip(picture.shape[:2], size, strict=True))
    wide = np.einsum("xj,ijc->ixc", across, picture.astype(np.float64))
    wide = np.clip(np.floor(wide + 0.5), 0, 255) if antialias else wide
    return np.clip(np.floor(np.einsum("yi,ixc->yxc", down, wide) + 0.5), 0, 255)


def weights(length: int, size: int, kernel: Kernel, antialias: bool) -> np.ndarray:
    """Row i holds how much each of `length` pixels counts for pixel i of `size`: f((j + 1/2 - centre) / width of the filter)."""
    scale, matrix = length / size, np.zeros((size, length))
    wide, a = max(scale, 1.0) if antialias else 1.0, -0.5 if antialias else -0.75
    reach = 2 if kernel == "cubic" else 1
    for i in range(size):
        centre = (i + 0.5) * scale
        for j in range(math.floor(centre - reach * wide) - 1, math.ceil(centre + reach * wide) + 2):
            x = abs(j + 0.5 - centre) / wide
            if kernel == "bilinear":
                weight = max(0.0, 1 - x)
            elif x < 1:
                weight = ((a + 2) * x - (a + 3)) * x * x + 1
            else:
                weight = (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0
            if 0 <= j < length or not antialias:  # Pillow leaves out what lies outside, OpenCV repeats the border
                matrix[i, min(max(j, 0), length - 1)] += weight
    return matrix / matrix.sum(1, keepdims=True)


@settings(max_examples=150, deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.data(), st.sampled_from(["bilinear", "cubic"]), st.booleans())
def test_a_window_is_that_part_of_the_whole(
    sides: tuple[int, int], size: tuple[int, int], data: st.DataObject, kernel: Kernel, antialias: bool
) -> None:
    picture = np.random.default_rng(sides[0] * 97 + sides[1]).integers(0, 256, (*sides, 3), dtype=np.uint8)
    top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    found = resize_window(picture, size, (top, left, height, width), kernel, antialias)
    wanted = whole(picture, size, kernel, antialias)[top : top + height, left : left + width]
    assert found.dtype == np.uint8
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= (2 if antialias else 1)  # sums that end near a half are rounded up or down, once or twice
    assert (difference > 0).mean() < 0.1 or difference.size < 60
    grey = resize_window(np.ascontiguousarray(picture[..., 0]), size, (top, left, height, width), kernel, antialias)
    assert np.array_equal(grey, found[..., 0])


@pytest.mark.parametrize("antialias", [False, True])
def test_a_picture_whose_last_row_is_partly_outside_keeps_its_scale(antialias: bool) -> None:
    """A ramp of 100 columns, of which an eighth and a bit is stored: the result is the ramp at the wanted size."""
    ramp = np.repeat((np.arange(13) * 8 + 3.5).round().astype(np.uint8)[None], 4, 0)
    found = resize_window(ramp, (2, 20), (0, 0, 2, 20), "bilinear", antialias, (0.0, 0.0, 4.0, 100 / 8))
    assert np.abs(found[0, 2:-2].astype(int) - (np.arange(20) * 5 + 2)[2:-2]).max() <= 1


PROGRAM = """
import resource, time
import numpy as np
from ernest.lcnet import PADDLECLAS, TEXT_LINE, TIMM, prepare
here = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (here + 150_000_000,) * 2)
begun = time.perf_counter()
for preprocessing in (PADDLECLAS, TIMM, TEXT_LINE):
    for shape in ((1, 5000), (5000, 1), (1, 3_000_000), (3_000_000, 1), (2, 60_000), (300, 20_000), (20_000, 300)):
        assert prepare(np.zeros((*shape, 3), np.uint8), preprocessing).shape[0] == 1
print(time.perf_counter() - begun)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space of a process")
def test_long_pictures_take_the_memory_of_what_is_kept() -> None:
    """Stretched before they were cropped, 1x5000 pixels took 11 GB and half a minute."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 10
