"""JPEG at an eighth: to the level what Pillow's draft mode decodes, or nothing."""

import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ernest.lcnet import Preprocessing
from ernest.lcnet.image_io import compiled, read
from ernest.lcnet.image_io.decode import decode_eighth
from ernest.lcnet.image_io.reader import network_reader, shrinking_reader
from ernest.lcnet.native import build

SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


@pytest.fixture(autouse=True, scope="module")
def compiler() -> None:
    try:
        build.compiler()
    except build.BuildError:
        pytest.skip("without a compiler Pillow decodes")


def scene(height: int, width: int, kind: str = "photograph", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "extremes":
        return rng.choice(np.array([0, 255], np.uint8), (height, width, 3))
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 30 + 2, width // 30 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    return np.clip(smooth + rng.normal(0, 4, (height, width, 1)), 0, 255).astype(np.uint8)


def written(picture: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", **options)
    return stream.getvalue()


def draft(data: bytes, grey: bool = False) -> np.ndarray:
    """Pillow's eighth."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("L" if grey else picture.mode, (max(1, picture.width // 8), max(1, picture.height // 8)))
        return np.asarray(picture)


def ours(data: bytes, grey: bool = False) -> np.ndarray | None:
    with Image.open(io.BytesIO(data)) as picture:
        return decode_eighth(data, picture.height, picture.width, grey)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    kind=st.sampled_from(["photograph", "extremes", "noise"]),
    subsampling=st.sampled_from(SAMPLINGS),
    quality=st.integers(1, 100),
    grey=st.booleans(),
    optimize=st.booleans(),
    interval=st.sampled_from([{}, {"restart_marker_blocks": 1}, {"restart_marker_blocks": 5}, {"restart_marker_rows": 1}]),
    seed=st.integers(0, 5),
)
def test_every_picture_is_pillows_to_the_level(height, width, kind, subsampling, quality, grey, optimize, interval, seed) -> None:
    data = written(scene(height, width, kind, seed), quality=quality, subsampling=subsampling, optimize=optimize, **interval)
    found = ours(data, grey)
    assert found is not None or (quality < 10 or kind == "extremes")  # values beyond those of photographs are left to Pillow
    assert found is None or np.array_equal(found, draft(data, grey))


@pytest.mark.parametrize("subsampling", SAMPLINGS)
def test_photographs_of_all_qualities_are_decoded_here(subsampling: str) -> None:
    picture = scene(600, 904)
    for quality in (5, 30, 60, 80, 88, 95, 100):
        data = written(picture, quality=quality, subsampling=subsampling)
        for grey in (False, True):
            assert np.array_equal(ours(data, grey), draft(data, grey)), (quality, grey)


def test_a_grey_file_is_decoded_for_grey_networks() -> None:
    data = written(scene(240, 331)[..., 0])
    assert np.array_equal(ours(data, grey=True), draft(data, grey=True))
    assert ours(data) is None


def test_what_is_unusual_is_left_to_pillow() -> None:
    picture = scene(80, 96)
    assert ours(written(picture, progressive=True)) is None
    assert ours(written(picture, keep_rgb=True)) is None
    stream = io.BytesIO()
    Image.fromarray(picture).convert("CMYK").save(stream, "JPEG")
    assert ours(stream.getvalue()) is None
    good = written(picture)
    assert decode_eighth(good, 80, 97, grey=False) is None
    for end in (0, 1, 2, 30, 300, len(good) // 2, len(good) - 2):
        assert decode_eighth(good[:end], 80, 96, grey=False) is None
    assert np.array_equal(ours(good + b"notes of an editor"), draft(good))


def test_damaged_files_are_refused_or_decoded_as_pillow_does() -> None:
    """Wherever bytes are changed: nothing is read outside the data, and what comes out is what Pillow makes of it."""
    rng, here, refused = np.random.default_rng(0), 0, 0
    originals = [written(scene(64, 80, seed=n), subsampling=SAMPLINGS[n % 3], restart_marker_rows=n % 2) for n in range(6)]
    for turn in range(1500):
        broken = bytearray(originals[turn % len(originals)])
        for at in rng.integers(2, len(broken) - 2, rng.integers(1, 4)):
            broken[at] = rng.choice([0, 1, 127, 255, rng.integers(256)])
        found = decode_eighth(bytes(broken), 64, 80, grey=False)
        refused += found is None
        if found is None:
            continue
        try:
            expected = draft(bytes(broken))
        except (OSError, SyntaxError, ValueError):
            continue  # which the caller has met before
        here += 1
        assert np.array_equal(found, expected), turn
    assert here > 300
    assert refused > 300


def test_it_takes_less_time_than_pillow() -> None:
    data = written(scene(1500, 2000), quality=88)

    def least(decode) -> float:
        taken = []
        for _ in range(5):
            begun = time.thread_time()
            decode(data)
            taken.append(time.thread_time() - begun)
        return min(taken)

    assert least(ours) < 0.8 * least(draft)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("grey", [False, True])
def test_files_are_read_alike_with_and_without_a_compiler(
    turn: int, grey: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "x.jpg").write_bytes(written(scene(331, 530), exif=exif))
    wanted = Preprocessing(32, (32, 32), *(((0.5,), (0.5,)) if grey else ()), antialias=True)
    counted: list[bool] = []

    def counting(*arguments) -> np.ndarray | None:
        found = decode_eighth(*arguments)
        counted.append(found is not None)
        return found

    monkeypatch.setattr(read, "decode_eighth", counting)

    def seen() -> tuple[np.ndarray, np.ndarray]:
        return network_reader(wanted)(tmp_path / "x.jpg"), shrinking_reader(40, grey)(tmp_path / "x.jpg")

    here = seen()
    assert counted == [True, True]
    monkeypatch.setattr(read, "decode_eighth", lambda *_: None)
    assert all(np.array_equal(one, two) for one, two in zip(here, seen(), strict=True))


def test_without_a_compiler_pillow_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    compiled.library.cache_clear()
    try:
        assert ours(written(scene(80, 96))) is None
    finally:
        compiled.library.cache_clear()
