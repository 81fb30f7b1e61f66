"""`ernest tokenizer`: trained on files or records, cut and gone on with, used on files, measured."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import ernest.tokenizers
from ernest.cli import tokenizer as commands
from ernest.config.media import USUAL, MediaSpec
from ernest.config.recipe import Recipe
from ernest.config.tables import TokenizerConfig
from ernest.data import media
from ernest.data.importers import both_directions
from ernest.data.record_writer import save_records
from ernest.storage import load_tensors
from ernest.tokenizers.standalone import FILES, Kind, PictureTokenizer, SoundTokenizer
from ernest.training import standalone
from ernest.training.standalone import train_standalone
from ernest.verifiers.speech import WordJudge

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learnt is not looked at here."""
    monkeypatch.setattr("ernest.tokenizers.training.audio.BATCH", 4)
    monkeypatch.setattr("ernest.tokenizers.training.vocoder.BATCH", 4)
    monkeypatch.setattr("ernest.training.frames.FRAMES_A_STEP", 8)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Pictures, a film, sounds and texts, without captions."""
    folder, rng = tmp_path / "files", np.random.default_rng(0)
    (folder / "more").mkdir(parents=True)
    for number in range(6):
        media.write_image(folder / f"{number}.png", rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
        time = np.arange(6000 + 640 * number) / 8000
        media.write_audio(folder / f"more/{number}.wav", (0.3 * np.sin(2000 * (1 + number) * time)).astype(np.float32))
    media.write_video(folder / "film.webp", rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))
    (folder / "words.txt").write_text("a red seven\n\na disk shrinking\n" * 20)
    return folder


def small(steps: int = 20, vocoder: int = 0) -> Recipe:
    return Recipe(tokenizers=TokenizerConfig(vocabulary=300, vision_steps=steps, audio_steps=steps, vocoder_steps=vocoder))


@pytest.mark.parametrize("kind", ["text", "vision", "audio"])
def test_a_tokenizer_is_trained_on_plain_files(kind: Kind, files: Path, tmp_path: Path) -> None:
    line = train_standalone(kind, files, tmp_path / "out", small(2), "tiny")
    article = "an" if kind == "audio" else "a"
    assert line == f"{tmp_path / 'out'}: {article} {kind} tokenizer of the recipe tiny"
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")) == sorted(
        [FILES[kind], "media.json", "run.json", "tokenizer.json"]
    )
    assert ernest.tokenizers.load(tmp_path / "out").about.recipe == "tiny"
    with pytest.raises(ValueError, match="out holds a tokenizer already: choose another folder"):
        train_standalone(kind, files, tmp_path / "out", small(2), "tiny")


@pytest.mark.parametrize(("kind", "cut"), [("vision", 9), ("audio", 9), ("audio", 19), ("audio", 65)])
def test_a_training_that_was_cut_goes_on_bit_for_bit(
    kind: Kind, cut: int, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between states, with the teacher of sounds under way (10 steps), behind it, and with the vocoder under way (from 59 on);
    other settings are refused meanwhile."""
    recipe = small(16 if kind == "vision" else 48, vocoder=12 if cut > 58 else 0)
    monkeypatch.setattr("ernest.tokenizers.training.vocoder.KEEP_EVERY", 4)
    monkeypatch.setattr("ernest.tokenizers.training.vision.KEEP_EVERY", 4)
    monkeypatch.setattr("ernest.tokenizers.training.audio.KEEP_EVERY", 8)
    train_standalone(kind, files, tmp_path / "whole", recipe, "tiny")
    true_bar, left = standalone.stage_bar, [cut]

    def stopping_bar():
        bar = true_bar()
        move = bar.update

        def update(task, **fields):
            move(task, **fields)
            left[0] -= "completed" in fields
            if not left[0]:
                raise KeyboardInterrupt

        bar.update = update
        return bar

    with monkeypatch.context() as patch:
        patch.setattr(standalone, "stage_bar", stopping_bar)
        with pytest.raises(KeyboardInterrupt):
            train_standalone(kind, files, tmp_path / "cut", recipe, "tiny")
    assert list((tmp_path / "cut/state").glob("*.safetensors"))
    with pytest.raises(ValueError, match="cut holds a run on other records, tokenizers or settings"):
        train_standalone(kind, files, tmp_path / "cut", small(17), "tiny")
    train_standalone(kind, files, tmp_path / "cut", recipe, "tiny")
    whole, gone_on = (load_tensors(tmp_path / name / FILES[kind]) for name in ("whole", "cut"))
    assert all(np.array_equal(whole[name], gone_on[name]) for name in whole)
    assert any(name.startswith("vocoder") for name in whole) == (cut > 58)


def test_a_vocoder_is_trained_for_a_codec_whose_codes_stay(files: Path, tmp_path: Path) -> None:
    """Each of the two reads what the other encoded."""
    train_standalone("audio", files, tmp_path / "ears", small(2), "tiny")
    with pytest.raises(ValueError, match=r"ears: tokenizers\.vocoder_steps = 0: say how many steps"):
        train_standalone("audio", files, tmp_path / "more", small(2), "tiny", tmp_path / "ears")
    with pytest.raises(ValueError, match="a codec is one of sounds, and this trains a tokenizer of vision"):
        train_standalone("vision", files, tmp_path / "more", small(2, 2), "tiny", tmp_path / "ears")
    recipe = Recipe(media=MediaSpec(sample_rate=16000), tokenizers=small(2, 2).tokenizers)
    train_standalone("audio", files, tmp_path / "more", recipe, "speech16", tmp_path / "ears")
    ears, more = (ernest.tokenizers.load(tmp_path / name) for name in ("ears", "more"))
    assert isinstance(ears, SoundTokenizer)
    assert isinstance(more, SoundTokenizer)
    assert more.about == ears.about
    assert more.media == USUAL
    assert more.network.vocoder is not None
    commands.encode(tmp_path / "ears", files / "more/0.wav", tmp_path / "codes")
    commands.decode(tmp_path / "more", tmp_path / "codes", tmp_path / "a.wav")
    commands.encode(tmp_path / "more", files / "more/0.wav", tmp_path / "codes")
    commands.decode(tmp_path / "ears", tmp_path / "codes", tmp_path / "b.wav")
    ours, theirs = (media.read_any(tmp_path / name)[1] for name in ("a.wav", "b.wav"))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() > 0.001


def test_records_bring_their_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = RNG.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    words = ["a red dot", "a blue dot"] * 4
    sounds = both_directions("audio", np.full(900, 0.1, np.float32), "hush", {})
    save_records(
        tmp_path / "data", [*[r for p, w in zip(pixels, words, strict=True) for r in both_directions("image", p, w, {})], *sounds]
    )
    seen = []
    true = standalone.vision_tokenizer
    monkeypatch.setattr(standalone, "vision_tokenizer", lambda *a, **k: seen.append(k["classes"]) or true(*a, **k))
    train_standalone("vision", tmp_path / "data", tmp_path / "out", small(1), "tiny")
    assert seen == [2], "red and blue"
    with pytest.raises(ValueError, match="was imported at 32 x 32 pixels, and the recipe has 64 x 32 pixels"):
        train_standalone("vision", tmp_path / "data", tmp_path / "b", Recipe(media=type(USUAL)(height=64)), "mine")


def test_a_broken_file_is_one_line(files: Path, tmp_path: Path) -> None:
    (files / "3.png").write_bytes((files / "3.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(files / '3.png'))}: not a picture") as told:
        train_standalone("vision", files, tmp_path / "out", small(1), "tiny")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out/run.json").exists()


def test_files_go_there_and_back_by_commands(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("text", "vision", "audio"):
        commands.train(kind, files, tmp_path / kind, set_=(("tokenizers.vision_steps=1", "tokenizers.audio_steps=1"),))
    for name, kind, back, shape in [
        ("0.png", "vision", "a.png", (32, 32, 3)),
        ("film.webp", "vision", "a.gif", (9, 32, 32, 3)),
        ("more/0.wav", "audio", "a.wav", (6400,)),
    ]:
        commands.encode(tmp_path / kind, files / name, tmp_path / "codes")
        commands.decode(tmp_path / kind, tmp_path / "codes", tmp_path / back)
        assert media.read_any(tmp_path / back)[1].shape == shape
    commands.encode(tmp_path / "text", files / "words.txt", tmp_path / "codes")
    commands.decode(tmp_path / "text", tmp_path / "codes", tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == (files / "words.txt").read_text()
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"0.png: expected a sound"):
        commands.encode(tmp_path / "audio", files / "0.png", tmp_path / "codes")
    with pytest.raises(ValueError, match="encoded by a text tokenizer of the recipe tiny"):
        commands.decode(tmp_path / "audio", tmp_path / "codes", tmp_path / "a.wav")


@pytest.mark.parametrize("kind", ["text", "vision", "audio"])
def test_the_report_shows_figures_and_what_came_back(
    kind: Kind, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.report.test_page import Reader

    train_standalone(kind, files, tmp_path / "out", small(2), "tiny")
    capsys.readouterr()
    commands.report(tmp_path / "out", files, tmp_path / "report.html")
    printed = capsys.readouterr().out
    expected = {
        "vision": ("PSNR: ", "SSIM: ", "Fréchet distance: ", "bits used: ", "dead bits: ", "even bits: ", "a frame: 42 bytes"),
        "audio": ("mel distance: ", "entries used of code 1: ", "a second of sound: 50 bytes", "encoding, times real time: "),
        "text": ("characters a token: ", "came back: 100 %", "ids used: "),
    }
    for name in expected[kind]:
        assert name in printed
    page = Reader((tmp_path / "report.html").read_text())
    tags = [tag for tag, _ in page.elements]
    assert tags.count("audio") == (12 if kind == "audio" else 0)
    assert tags.count("img") == {"text": 0, "vision": 14, "audio": 12}[kind]


def test_the_report_has_the_vocoder_beside_griffin_and_lim(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the words that a judge mishears: against the texts where these name words, else against what it hears at first."""
    torch.manual_seed(0)
    WordJudge().eval().save(tmp_path / "words.safetensors")
    train_standalone("audio", files, tmp_path / "out", small(2, 2), "tiny")
    wave = media.read_any(files / "more/0.wav")[1]
    save_records(tmp_path / "said", both_directions("audio", wave, "adam says seven", {}))
    for data, word_of in ((files, "what it hears in the sounds themselves"), (tmp_path / "said", "their texts")):
        capsys.readouterr()
        commands.report(tmp_path / "out", data, tmp_path / "report.html", judge=tmp_path / "words.safetensors")
        printed = capsys.readouterr().out
        for name in ("mel distance", "periodicity distance", "words misheard in what came back"):
            assert f"{name}: " in printed
            assert f"{name} by Griffin-Lim: " in printed
        assert "decoding by Griffin-Lim, times real time: " in printed
        assert word_of in printed
        assert ("words misheard in the sounds themselves: " in printed) == (word_of == "their texts")


def test_kinds_of_what_is_loaded(files: Path, tmp_path: Path) -> None:
    train_standalone("vision", files, tmp_path / "eyes", small(1), "tiny")
    train_standalone("audio", files, tmp_path / "ears", small(1), "tiny")
    assert isinstance(ernest.tokenizers.load(tmp_path / "eyes"), PictureTokenizer)
    assert isinstance(ernest.tokenizers.load(tmp_path / "ears"), SoundTokenizer)
