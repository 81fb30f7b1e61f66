"""Pictures as files hold them: fractions of JPEG, sixteen bits, notes of cameras, and whatever a decoder raises."""

import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ernest.lcnet import HUGGING_FACE, PADDLECLAS, TIMM, Preprocessing, read_picture
from ernest.lcnet.image_io.preprocess import fit_picture
from ernest.lcnet.image_io.reader import network_reader, read_input, shrinking_reader

KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF", "ICO")


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth, with some grain, as a photograph is."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 60 + 2, width // 60 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    return np.clip(smooth + rng.normal(0, 4, (height, width, 1)), 0, 255).astype(np.uint8)


def tried(read: Callable[[], np.ndarray], path: Path) -> np.ndarray | None:
    """What is read, or nothing if that ends in one line about this file; all else comes through."""
    said = ""
    try:
        return read()
    except ValueError as error:
        said = str(error)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return None


@pytest.mark.parametrize("preprocessing", [PADDLECLAS, TIMM, HUGGING_FACE, Preprocessing(32, (32, 32), (0.5,), (0.5,))])
@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_are_decoded_at_a_fraction_and_look_the_same(preprocessing: Preprocessing, turn: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(photo(521, 779)).save(tmp_path / "x.jpg", quality=90, exif=exif)
    exact, fast = (network_reader(preprocessing, exact)(tmp_path / "x.jpg").astype(int) for exact in (True, False))
    assert exact.shape == fast.shape
    assert not np.array_equal(exact, fast)
    difference = np.abs(exact - fast)
    assert difference.mean() < 4
    assert np.quantile(difference, 0.99) < 14
    assert read_input(tmp_path / "x.jpg", preprocessing).shape == (1, exact.shape[2], *exact.shape[:2])


def test_the_fraction_is_pillows_draft_to_the_level(tmp_path: Path) -> None:
    Image.fromarray(photo(1024, 2048)).save(tmp_path / "x.jpg", quality=90)
    with Image.open(tmp_path / "x.jpg") as picture:
        picture.draft("RGB", (512, 256))
        quarter = np.asarray(picture.convert("RGB"))
    assert quarter.shape == (256, 512, 3)
    found = network_reader(Preprocessing(resize=256, crop=(256, 512)))(tmp_path / "x.jpg")
    assert np.array_equal(found, quarter)


def test_a_fraction_is_never_smaller_than_what_is_wanted(tmp_path: Path) -> None:
    """Small pictures, and those less than twice as large, are decoded whole."""
    for height, width in ((511, 900), (256, 256), (100, 140)):
        Image.fromarray(photo(height, width)).save(tmp_path / "x.jpg")
        assert np.array_equal(network_reader(PADDLECLAS)(tmp_path / "x.jpg"), fit_picture(read_picture(tmp_path / "x.jpg")))


def test_pictures_to_learn_from_shrink_to_a_short_side_and_small_ones_stay(tmp_path: Path) -> None:
    content = photo(900, 1300)
    for name in ("x.jpg", "x.png"):
        Image.fromarray(content).save(tmp_path / name)
        for grey in (False, True):
            assert shrinking_reader(100, grey)(tmp_path / name).shape == (100, 144, 1 if grey else 3)
    assert np.array_equal(shrinking_reader(900)(tmp_path / "x.png"), content)
    assert shrinking_reader(5000)(tmp_path / "x.png").shape == content.shape
    fast, whole = (shrinking_reader(100)(tmp_path / name) for name in ("x.jpg", "x.png"))
    assert np.abs(fast.astype(int) - whole).mean() < 2


def test_of_sixteen_bits_grey_and_coloured_the_upper_eight_count(tmp_path: Path) -> None:
    deep = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    for name in ("x.png", "x.tif", "x.pgm"):
        Image.fromarray(deep).save(tmp_path / name)
        assert np.array_equal(read_picture(tmp_path / name, grey=True), deep >> 8)
    rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in deep)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0))
    (tmp_path / "rgb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    assert np.array_equal(read_picture(tmp_path / "rgb.png"), np.repeat((deep >> 8)[..., None], 3, -1))
    for kind, mode in ((np.int32, "I"), (np.float32, "F")):
        Image.fromarray(deep.astype(kind)).save(tmp_path / "x.tif")
        with pytest.raises(ValueError, match=f"x.tif: expected eight or sixteen bits a colour, got {mode}"):
            read_picture(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_malformed_note_of_the_camera_spoils_no_picture(kind: str, tmp_path: Path) -> None:
    content, path = photo(40, 60), tmp_path / "x"
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(content).save(stream, kind, exif=exif)
    data, rng, shapes = stream.getvalue(), np.random.default_rng(0), set()
    place = data.index(b"MM\0*") if b"MM\0*" in data else data.index(b"II*\0")
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(place + (8 if kind == "TIFF" else 0), place + 26, 3):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        levels = tried(lambda: read_picture(path), path)
        shapes |= set() if levels is None else {levels.shape}
    if kind in ("JPEG", "WEBP"):
        assert shapes <= {(40, 60, 3), (60, 40, 3)}
        assert (40, 60, 3) in shapes


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif", "x.avif"])
def test_the_notes_of_cameras_are_found_in_every_kind_of_file(name: str, tmp_path: Path) -> None:
    content = photo(40, 60)
    for turn, wanted in ((3, content[::-1, ::-1]), (6, np.rot90(content, -1)), (8, np.rot90(content))):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(content).save(tmp_path / name, exif=exif, quality=98)
        assert np.abs(read_picture(tmp_path / name).astype(int) - wanted).mean() < 6
    note = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    if name in ("x.jpg", "x.webp"):
        Image.fromarray(content).save(tmp_path / name, xmp=note, quality=98)
        assert read_picture(tmp_path / name).shape == (60, 40, 3)


def fuzz(count: int, folder: Path) -> int:
    """Reads pictures with broken headers in every way; returns how many could be read. Anything but ValueError comes through."""
    rng, good = np.random.default_rng(3), 0
    path = folder / "x"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    originals = []
    for kind in KINDS:
        for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"):
            stream = io.BytesIO()
            try:
                grey_or_not = Image.fromarray(photo(24, 33)).convert("L" if mode == "I;16" else mode)
                grey_or_not.convert(mode).save(stream, kind, exif=exif)
            except (OSError, ValueError, KeyError):  # not every kind has every mode
                continue
            originals.append(stream.getvalue())
    for turn in range(count):
        broken = bytearray(originals[turn % len(originals)])
        reach = min(len(broken), int(rng.choice([30, 120, 600])))
        for at in rng.integers(0, reach, rng.integers(1, 6)):
            broken[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        if rng.random() < 0.1:
            del broken[int(rng.integers(1, len(broken))) :]
        path.write_bytes(broken)
        levels = tried(lambda: network_reader(PADDLECLAS)(path), path)
        assert levels is None or levels.shape == (224, 224, 3)
        good += levels is not None
    return good


def test_whatever_a_header_does_to_a_decoder_is_that_pictures_error(tmp_path: Path) -> None:
    assert 50 < fuzz(700, tmp_path) < 650


@pytest.mark.long
def test_ten_thousand_headers(tmp_path: Path) -> None:
    assert fuzz(12_000, tmp_path) > 1000


def test_exceptions_of_any_kind_are_that_pictures_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(photo(40, 60)).save(tmp_path / "x.png")
    for raised in (struct.error("no"), MemoryError(), ZeroDivisionError("by 0"), KeyError(3), RecursionError("deep"), EOFError()):

        def load(self: Image.Image, raised: Exception = raised) -> None:
            raise raised

        monkeypatch.setattr(Image.Image, "load", load)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/x.png: {str(raised) or type(raised).__name__}")):
            read_picture(tmp_path / "x.png")


def test_names_of_any_kind_are_that_pictures_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, said in (
        ("x" * 300, "File name too long"),
        ("a\0b.png", "embedded null byte"),
        (str(tmp_path), "expected a picture, got a folder"),
        (str(tmp_path / "pipe.png"), "expected a picture, got no regular file"),
        (str(tmp_path / "loop.png"), "Too many levels of symbolic links"),
        (os.fsdecode(b"caf\xe9.png"), "there is no such file"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)) as caught:
            read_picture(name)
        str(caught.value).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a picture, got an empty file"),
        (b"\0\0\0\x18ftypheic" + bytes(90), "a picture in HEIF, as telephones take them, which Pillow does not read: convert"),
        (b"\0\0\0\x18ftypmif1" + bytes(90), "a picture in HEIF"),
        (b"<html>not found</html>", "expected a picture, which this is not"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "expected a picture, got a pointer of Git LFS to a file"),
    ],
)
def test_what_pillow_does_not_know_is_told(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/x.jpg: {said}")):
        read_picture(tmp_path / "x.jpg")


def test_threads_leave_warnings_as_they_were(tmp_path: Path) -> None:
    Image.fromarray(photo(40, 60)).save(tmp_path / "x.png")
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [read_picture(tmp_path / "x.png") for _ in range(100)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_what_is_read_may_be_changed(tmp_path: Path) -> None:
    Image.fromarray(photo(40, 60)).save(tmp_path / "x.png")
    picture = read_picture(tmp_path / "x.png")
    picture[:] = 0
    assert torch.from_numpy(picture).sum() == 0


def write_png(path: Path, levels: np.ndarray, clear: np.ndarray) -> None:
    """Sixteen bits a colour `[H, W]` or `[H, W, 3]`, of which one colour is transparent."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    size = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 16, 2 if levels.ndim == 3 else 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in (
        (b"IHDR", size),
        (b"tRNS", np.asarray(clear, ">u2").tobytes()),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_the_transparent_colour_of_sixteen_bits_is_laid_on_white(colours: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in (tmp_path / f"{number}.png" for number in range(20)):
        levels = rng.integers(0, 65536, (6, 7, *colours))
        clear = levels[2, 3].copy()
        levels[rng.random((6, 7)) < 0.3] = clear
        write_png(path, levels, clear)
        there = (levels == clear).reshape(6, 7, -1).all(2)[..., None]
        assert np.array_equal(read_picture(path), np.where(there, 255, (levels >> 8).reshape(6, 7, -1)) + np.zeros(3, int))


def test_of_grey_in_sixteen_bits_the_lower_ones_tell_what_is_transparent(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", np.array([[30_000, 30_001]]), np.array(30_000))
    assert read_picture(tmp_path / "x.png", grey=True).tolist() == [[255, 117]]


def test_scans_in_which_zero_is_white_are_seen_as_they_look(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (5, 4)).astype(np.uint16)
    for kind, shown in ((0, 65535 - levels), (1, levels)):
        Image.fromarray(levels).save(tmp_path / "x.tif", tiffinfo={262: kind})
        content = bytearray((tmp_path / "x.tif").read_bytes())
        at = content.index(struct.pack("<HH", 262, 3)) + 8  # Pillow writes its own
        content[at : at + 2] = struct.pack("<H", kind)
        (tmp_path / "x.tif").write_bytes(content)
        assert np.array_equal(read_picture(tmp_path / "x.tif", grey=True), shown >> 8)
