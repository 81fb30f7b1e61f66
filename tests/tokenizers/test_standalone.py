"""Tokenizers that stand alone: arrays in, codes out and back, from folders and files, whole and in chunks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ernest.tokenizers
from ernest.cli import tokenizer as commands
from ernest.config.media import USUAL, MediaSpec
from ernest.data.standalone import read_for, write_for
from ernest.tokenizers.audio import AudioConfig, AudioTokenizer
from ernest.tokenizers.standalone import (
    About,
    PictureTokenizer,
    SoundTokenizer,
    WordTokenizer,
    load_codes,
    save_codes,
    save_standalone,
)
from ernest.tokenizers.streams import FilmStream, SoundStream
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from tests.small import tokenizers

RNG = np.random.default_rng(0)
FILM = RNG.integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)
WAVE = RNG.uniform(-0.3, 0.3, 30_000).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One of each kind, by itself."""
    found = tmp_path_factory.mktemp("alone")
    bundle = tokenizers()
    for name, network in (("eyes", bundle.vision), ("ears", bundle.audio), ("words", bundle.text)):
        save_standalone(found / name, network, USUAL, "tiny")
    return found


def test_three_lines_of_use(folder: Path) -> None:
    eyes = ernest.tokenizers.load(folder / "eyes")
    bits = eyes.encode(FILM)
    rebuilt = eyes.decode(bits)
    assert isinstance(eyes, PictureTokenizer)
    assert bits.dtype == bool
    assert bits.shape == (23, 21, 8)
    assert rebuilt.shape == FILM.shape
    assert np.array_equal(eyes.encode(FILM[4]), bits[4])
    assert np.array_equal(eyes.decode(bits[4]), rebuilt[4])
    ears = ernest.tokenizers.load(str(folder / "ears"))
    assert isinstance(ears, SoundTokenizer)
    codes = ears.encode(WAVE)
    assert codes.shape == (47, 3)
    assert ears.decode(codes).shape == (47 * 640,)
    words = ernest.tokenizers.load(folder / "words")
    assert isinstance(words, WordTokenizer)
    assert words.decode(words.encode("a red seven, größer")) == "a red seven, größer"


@given(st.lists(st.integers(0, 9), max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_video_in_chunks_has_the_bits_of_the_whole(folder: Path, cuts: list[int]) -> None:
    """Whatever the cuts: also of single frames, which PyTorch would convolve in another order of sums."""
    eyes = ernest.tokenizers.load(folder / "eyes")
    assert isinstance(eyes, PictureTokenizer)
    stream, ends = eyes.stream(), np.minimum(np.cumsum([0, *cuts]), len(FILM))
    parts = [stream.push(FILM[start:end]) for start, end in zip(ends, [*ends[1:], len(FILM)], strict=True)]
    assert np.array_equal(np.concatenate([*parts, stream.finish()]), eyes.encode(FILM))


@given(st.integers(1, 30_000), st.lists(st.integers(0, 9000), max_size=12))
@settings(max_examples=25, deadline=None)
def test_a_sound_in_chunks_has_the_codes_of_the_whole(folder: Path, length: int, cuts: list[int]) -> None:
    ears = ernest.tokenizers.load(folder / "ears")
    assert isinstance(ears, SoundTokenizer)
    wave = WAVE[:length]
    stream, ends = ears.stream(), np.minimum(np.cumsum([0, *cuts]), length)
    parts, heard = [], 0
    for start, end in zip(ends, [*ends[1:], length], strict=True):
        parts.append(stream.push(wave[start:end]))
        heard += end - start
        assert sum(map(len, parts)) == max(0, heard // 640 - SoundStream.DELAY)
    assert np.array_equal(np.concatenate([*parts, stream.finish()]), ears.encode(wave))
    assert len(stream.finish()) == 0


def test_the_codec_looks_no_further_than_the_stream_waits() -> None:
    """What lies further away from a frame of codes than that, on either side, changes no latent; what lies within does."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AudioTokenizer(AudioConfig(2, 8, 8, 8, 8)).eval()
    mel = torch.randn(1, 4 * 30, 64)
    frames = torch.tensor([30])
    before = network.latents(mel, frames)
    reach = []
    for code in range(30):
        changed = mel.clone()
        changed[:, 4 * code : 4 * code + 4] += 1
        reach += [abs(int(i) - code) for i in (network.latents(changed, frames) - before).abs().amax(1).nonzero()[:, 0]]
    # A frame of the spectrogram reaches less than one frame further into the samples around it, and codes have four.
    assert max(reach) == SoundStream.DELAY
    assert 4 * SoundStream.DELAY >= 22 + 1


def test_codes_go_through_files_and_to_no_other_tokenizer(folder: Path, tmp_path: Path) -> None:
    for name, data in (("eyes", FILM[:3]), ("ears", WAVE), ("words", "a red seven")):
        tokenizer = ernest.tokenizers.load(folder / name)
        codes = tokenizer.encode(data)
        size = save_codes(tmp_path / name, tokenizer, codes)
        assert np.array_equal(load_codes(tmp_path / name, tokenizer), codes)
        renamed = replace(tokenizer, about=replace(tokenizer.about, recipe="of another folder"))
        assert np.array_equal(load_codes(tmp_path / name, renamed), codes)
        assert size == {"eyes": 3 * 21 * 1, "ears": 47 * 3 * 2}.get(name, codes.nbytes)
    large = VisionTokenizer(VisionTokenizerConfig(64, width=8))
    save_standalone(tmp_path / "other", large, MediaSpec(64, 64), "pictures64")
    other = ernest.tokenizers.load(tmp_path / "other")
    said = r"eyes: encoded by a vision tokenizer of the recipe tiny \(\w{8}\), and this is a vision .* the recipe pictures64"
    with pytest.raises(ValueError, match=said):
        load_codes(tmp_path / "eyes", other)
    with pytest.raises(ValueError, match="frames of 32 x 32 pixels: this tokenizer is one of 64 x 64"):
        other.encode(FILM)


def test_what_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    eyes = ernest.tokenizers.load(folder / "eyes")
    with pytest.raises(ValueError, match=r"expected uint8 \[height, width, 3\] or .*, got float64 \[3, 32, 32\]"):
        eyes.encode(np.zeros((3, 32, 32)))
    with pytest.raises(ValueError, match=r"expected bits \[latents, 21, 8\], got \[1, 20, 8\]"):
        eyes.decode(np.zeros((1, 20, 8), bool))
    with pytest.raises(ValueError, match="holds no tokenizer: `ernest tokenizer train` makes one"):
        ernest.tokenizers.load(tmp_path)
    tokenizers().save(tmp_path / "run/model/tokenizers")
    with pytest.raises(ValueError, match="holds several tokenizers: name one of text, vision, audio"):
        ernest.tokenizers.load(tmp_path / "run/model")
    assert isinstance(ernest.tokenizers.load(tmp_path / "run/model", "audio"), SoundTokenizer)
    (tmp_path / "codes").write_bytes((folder / "eyes/vision.safetensors").read_bytes())
    with pytest.raises(ValueError, match="codes: expected codes that `ernest tokenizer encode` wrote"):
        load_codes(tmp_path / "codes", eyes)
    (tmp_path / "eyes").mkdir()
    TextTokenizer().save(tmp_path / "eyes/text.json")
    (tmp_path / "eyes/tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"eyes/tokenizer.json: damaged"):
        ernest.tokenizers.load(tmp_path / "eyes")


def test_a_text_keeps_its_line_ends(tmp_path):
    words = WordTokenizer(About("text", "tiny", ""), USUAL, TextTokenizer())
    (tmp_path / "a.txt").write_bytes(content := b"\xef\xbb\xbfone\r\ntwo\n\rthree")
    ids = words.encode(read_for(words, tmp_path / "a.txt"))
    write_for(words, words.decode(ids), tmp_path / "new/b.txt")
    assert (tmp_path / "new/b.txt").read_bytes() == content


def test_what_is_encoded_is_not_written_over(tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "link.txt").symlink_to("a.txt")
    with pytest.raises(ValueError, match=r"link\.txt is the file that is read, which would be lost: choose another name"):
        commands.encode(tmp_path, tmp_path / "a.txt", tmp_path / "link.txt")


def test_arrays_may_lie_in_memory_as_they_like(folder: Path) -> None:
    """Read-only as Pillow gives them, from back to front, in another order of axes or of bytes."""
    eyes, ears = (ernest.tokenizers.load(folder / name) for name in ("eyes", "ears"))
    fixed = FILM[:3].copy()
    fixed.flags.writeable = False
    bits, codes = eyes.encode(FILM[:3]), ears.encode(WAVE[:2000])
    assert np.array_equal(eyes.encode(fixed), bits)
    assert np.array_equal(eyes.encode(np.asfortranarray(FILM[:3])), bits)
    assert np.array_equal(ears.encode(WAVE[:2000][::-1].copy()[::-1]), codes)
    assert np.array_equal(ears.encode(WAVE[:2000].astype(">f4")), codes)
    bits.flags.writeable = False
    assert np.array_equal(eyes.decode(bits), eyes.decode(np.asfortranarray(bits.astype(int))))


@pytest.mark.parametrize(
    ("name", "use", "said"),
    [
        ("eyes", lambda it: it.encode(FILM[0].tolist()), "expected uint8 .*, got a list"),
        ("eyes", lambda it: it.stream().push(FILM / 255), r"expected an array uint8 \[frames, .*, got float64 \[23, 32, 32, 3\]"),
        ("eyes", lambda it: it.stream().push(FILM[0]), r"expected an array uint8 \[frames, .*, got uint8 \[32, 32, 3\]"),
        ("eyes", lambda it: it.decode(255 * it.encode(FILM[0]).astype(np.uint8)), "expected bits, True or False, got uint8"),
        *[("eyes", lambda it, n=n: it.decode(it.encode(FILM[0]), n), f"scales = {n}: expected 1 to 3") for n in (0, -1, 99)],
        *[("ears", lambda it, n=n: it.decode(it.encode(WAVE[:900]), n), f"levels = {n}: expected 1 to 3") for n in (0, -1, 4)],
        ("ears", lambda it: it.stream().push((3e4 * WAVE).astype(np.int16)), r"expected an array of float samples .* got int16"),
        (
            "ears",
            lambda it: it.stream().push(WAVE.reshape(-1, 2)),
            r"expected an array of float samples .* got float32 \[15000, 2\]",
        ),
        ("ears", lambda it: it.encode([0.1] * 900), r"expected an array of float samples .* got a list"),
        ("ears", lambda it: it.decode(it.encode(WAVE[:900]), iterations=-1), "iterations = -1: expected 0 or more"),
        ("ears", lambda it: it.decode(np.full((2, 3), 0.7)), "expected codes, which are whole numbers, got float64"),
        ("words", lambda it: it.decode(np.array([0.7])), r"expected ids \[tokens\], which are whole numbers, got float64"),
        (
            "words",
            lambda it: it.decode(it.encode("a")[None]),
            r"expected ids \[tokens\], which are whole numbers, got int32 \[1, 1\]",
        ),
    ],
)
def test_what_is_misread_is_refused(folder: Path, name: str, use: Callable[[Any], object], said: str) -> None:
    """Levels that were divided, samples that were not, and parts that are not there were coded without a word."""
    with pytest.raises(ValueError, match=said):
        use(ernest.tokenizers.load(folder / name))


@pytest.mark.parametrize("stride", [1, 4])
def test_what_comes_after_the_end_of_a_stream_is_refused(folder: Path, stride: int) -> None:
    """Its last codes were made as if nothing came after them: what followed was coded as no whole film would be."""
    films = PictureTokenizer(About("vision", "", ""), USUAL, VisionTokenizer(VisionTokenizerConfig(32, stride=stride)))
    ears = ernest.tokenizers.load(folder / "ears")
    assert isinstance(ears, SoundTokenizer)
    for stream, some in ((films.stream(), FILM), (ears.stream(), WAVE)):
        stream.push(some[:3])
        assert len(stream.finish()) == (1 if stride > 1 or some is WAVE else 0)
        with pytest.raises(ValueError, match="this stream is finished: begin another one"):
            stream.push(some[3:])


def test_a_film_in_groups_is_refused_at_its_first_frame_of_another_size() -> None:
    stream = FilmStream(VisionTokenizer(VisionTokenizerConfig(32, stride=4)))
    stream.push(FILM[:1])
    with pytest.raises(ValueError, match="frames of 16 x 32 pixels: this tokenizer is one of 32 x 32"):
        stream.push(FILM[:5, :16])


def test_a_text_is_not_written_as_a_picture(folder: Path, tmp_path: Path) -> None:
    words = ernest.tokenizers.load(folder / "words")
    with pytest.raises(ValueError, match=r"new/a\.PNG: a text is written to a file such as \.txt"):
        write_for(words, "a text", tmp_path / "new/a.PNG")
    assert not list(tmp_path.iterdir())


def test_tokenizers_have_their_article() -> None:
    assert str(About("audio", "tiny", "0123456789")) == "an audio tokenizer of the recipe tiny (01234567)"
    assert str(About("vision", "tiny", "0123456789")) == "a vision tokenizer of the recipe tiny (01234567)"
