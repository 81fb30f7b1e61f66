"""Small files, several in one call: to the level what Pillow decodes, or nothing."""

import io
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ernest.lcnet import Preprocessing, read_picture
from ernest.lcnet.image_io import decode, reader
from ernest.lcnet.image_io.decode import ROOM, SMALL, decode_small
from ernest.lcnet.image_io.reader import network_reader, shrinking_reader
from ernest.lcnet.native import build
from tests.lcnet.image_io.test_eighth import SAMPLINGS, scene


@pytest.fixture(autouse=True, scope="module")
def compiler() -> None:
    try:
        build.compiler()
    except build.BuildError:
        pytest.skip("without a compiler Pillow decodes")


def written(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, kind, **options)
    return stream.getvalue()


def files(folder: Path, contents: Sequence[bytes]) -> list[Path]:
    paths = [folder / f"{number}.x" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def ours(folder: Path, *contents: bytes, grey: bool = False) -> list[np.ndarray | None]:
    return [one and one.levels for one in decode_small(files(folder, contents), grey)]


COMPRESSIONS = st.sampled_from([{"compress_level": level} for level in (0, 1, 6, 9)] + [{"optimize": True}])
INTERVALS = st.sampled_from([{}, {"restart_marker_blocks": 1}, {"restart_marker_blocks": 5}, {"restart_marker_rows": 1}])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    kind=st.sampled_from(["photograph", "extremes", "noise"]),
    mode=st.sampled_from(["RGB", "L", "P"]),
    grey=st.booleans(),
    compression=COMPRESSIONS,
    seed=st.integers(0, 5),
)
def test_every_png_is_pillows(height, width, kind, mode, grey, compression, seed, tmp_path) -> None:
    picture = Image.fromarray(scene(height, width, kind, seed))
    picture = picture.quantize(256) if mode == "P" else picture.convert(mode)
    content = written(picture, **compression)
    (found,) = ours(tmp_path, content, grey=grey)
    assert found is not None or mode == "P"  # of few colours: less than eight bits a pixel
    assert found is None or np.array_equal(found, read_picture(tmp_path / "0.x", grey))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    kind=st.sampled_from(["photograph", "extremes", "noise"]),
    subsampling=st.sampled_from(SAMPLINGS),
    quality=st.integers(1, 100),
    one_colour=st.booleans(),
    grey=st.booleans(),
    optimize=st.booleans(),
    interval=INTERVALS,
    seed=st.integers(0, 5),
)
def test_every_jpeg_is_pillows_to_the_level(
    height, width, kind, subsampling, quality, one_colour, grey, optimize, interval, seed, tmp_path
) -> None:
    picture = Image.fromarray(scene(height, width, kind, seed)).convert("L" if one_colour else "RGB")
    content = written(picture, "JPEG", quality=quality, subsampling=subsampling, optimize=optimize, **interval)
    (found,) = ours(tmp_path, content, grey=grey)
    assert found is not None or quality < 10 or kind == "extremes" or (width <= 4 and not one_colour)
    assert found is None or np.array_equal(found, read_picture(tmp_path / "0.x", grey))


def test_many_lie_one_behind_the_other_and_others_are_left_out(tmp_path: Path) -> None:
    good = [written(scene(9 + n, 30 - n, seed=n), "JPEG" if n % 2 else "PNG") for n in range(8)]
    odd = (b"", b"no picture", good[0][:-1], written(scene(8, 8), "GIF"), written(scene(8, 8), "BMP"))
    paths = files(tmp_path, [*good[:4], *odd, *good[4:]])
    os.mkfifo(tmp_path / "pipe")  # which nobody writes to
    found = decode_small([tmp_path / "pipe", tmp_path, tmp_path / "missing", *paths], grey=False)
    assert [one and one.format for one in found] == [*[None] * 3, *["PNG", "JPEG"] * 2, *[None] * 5, *["PNG", "JPEG"] * 2]
    for one, path in zip(found[3:], paths, strict=True):
        assert one is None or np.array_equal(one.levels, read_picture(path))
    assert decode_small(["a\0b", paths[0]], grey=False) == [None, None]


def test_what_is_unusual_is_left_to_pillow(tmp_path: Path) -> None:
    picture = Image.fromarray(scene(40, 50))
    exif = Image.Exif()
    exif[0x0112] = 6
    texts = PngImagePlugin.PngInfo()
    texts.add_text("XML:com.adobe.xmp", "<x tiff:Orientation='6'/>")
    unusual = [
        written(picture, exif=exif),
        written(picture, "JPEG", exif=exif),
        written(picture, pnginfo=texts),
        written(picture, "JPEG", progressive=True),
        written(picture, "JPEG", keep_rgb=True),
        written(picture.convert("CMYK"), "JPEG"),
        written(picture.convert("RGBA")),
        written(picture.convert("L"), transparency=7),
        written(picture.convert("1")),
        written(picture.quantize(4)),
        written(np.full((9, 9), 300, np.uint16)),
        written(picture, save_all=True, append_images=[picture.rotate(90)]),
        written(picture) + b"more",
        written(picture, "JPEG", xmp=b"<x/>"),
    ]
    assert ours(tmp_path, *unusual) == [None] * len(unusual)
    usual = PngImagePlugin.PngInfo()
    usual.add_text("Software", "painted by hand")
    (found,) = ours(tmp_path, written(picture, pnginfo=usual, dpi=(72, 72)))
    assert np.array_equal(found, np.asarray(picture))


def test_large_files_and_those_without_room_are_left_to_pillow(tmp_path: Path) -> None:
    large = written(scene(200, 300, "noise"))
    assert len(large) > SMALL
    wide = written(np.zeros((200, 200, 3), np.uint8))
    assert len(wide) < SMALL < 3 * 200 * 200
    assert ours(tmp_path, large, wide) == [None, None]
    assert 3 * ROOM > 200 * 200
    tiny = written(scene(8, 8))
    found = ours(tmp_path, tiny, wide, tiny, wide)
    assert [one is None for one in found] == [False, False, False, True]


def test_damaged_files_are_refused_or_decoded_as_pillow_does(tmp_path: Path) -> None:
    """Wherever bytes are changed: nothing is read outside the data, and what comes out is what Pillow makes of it."""
    rng, here, refused = np.random.default_rng(0), 0, 0
    originals = [
        written(scene(24, 31, seed=n), "JPEG", subsampling=SAMPLINGS[n % 3], restart_marker_rows=n % 2) for n in range(6)
    ]
    for turn in range(1500):
        broken = bytearray(originals[turn % len(originals)])
        for at in rng.integers(2, len(broken) - 2, rng.integers(1, 4)):
            broken[at] = rng.choice([0, 1, 127, 255, rng.integers(256)])
        (found,) = ours(tmp_path, bytes(broken))
        refused += found is None
        if found is None:
            continue
        here += 1
        assert np.array_equal(found, read_picture(tmp_path / "0.x")), turn
    assert here > 300
    assert refused > 300


def test_damaged_streams_of_png_are_refused(tmp_path: Path) -> None:
    """With checks of chunks that fit: the packed bytes themselves are wrong, cut or too many."""
    rng = np.random.default_rng(0)
    picture = scene(24, 31)
    content = written(picture, optimize=True)
    at = content.index(b"IDAT")
    size = int.from_bytes(content[at - 4 : at], "big")
    packed, tail = content[at + 4 : at + 4 + size], content[at + 8 + size :]

    def chunk(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + b"IDAT" + data + zlib.crc32(b"IDAT" + data).to_bytes(4, "big")

    assert np.array_equal(ours(tmp_path, content[: at - 4] + chunk(packed[:50]) + chunk(packed[50:]) + tail)[0], picture)
    for turn in range(1500):
        broken = bytearray(packed)
        for place in rng.integers(0, len(broken), rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        broken = broken[: rng.integers(len(broken))] if turn % 4 == 0 else broken
        (found,) = ours(tmp_path, content[: at - 4] + chunk(bytes(broken)) + tail)
        assert found is None or bytes(broken) == packed or np.array_equal(found, picture), turn


@pytest.mark.parametrize("grey", [False, True])
def test_readers_see_the_same_with_and_without_it(grey: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [written(scene(20 + 7 * n, 33, seed=n), ("PNG", "JPEG")[n % 2]) for n in range(20)]
    paths = [*files(tmp_path, contents), tmp_path / "missing"]
    wanted = Preprocessing(24, (24, 24), *(((0.5,), (0.5,)) if grey else ()))
    readers = [network_reader(wanted), network_reader(wanted, exact=True), shrinking_reader(30, grey)]

    def seen() -> list[list[np.ndarray | str]]:
        with ThreadPoolExecutor(2) as pool:
            return [list(one.all(paths, pool)) for one in readers]

    here = seen()
    counts = [sum(one is not None for one in each.small(paths)) for each in readers]
    monkeypatch.setattr(reader, "decode_small", lambda files, grey: [None] * len(files))
    for mine, theirs in zip(here, seen(), strict=True):
        assert all(np.array_equal(one, two) for one, two in zip(mine, theirs, strict=True))
    assert counts[1] == 20  # whole; else those that are large enough are decoded at a half by Pillow
    assert min(counts) > 10


def test_without_a_compiler_pillow_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "library", lambda: None)
    assert ours(tmp_path, written(scene(8, 8))) == [None]
