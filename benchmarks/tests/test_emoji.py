"""Emoji and films at 64 pixels: what is learnt from and what is kept unseen, and when a tokenizer's films count as lawful."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.results import clips, emoji
from benchmarks.results.trial import Trial
from ernest.config.media import MediaSpec
from ernest.world.video import FAMILIES

PICTURED = {"1f98a": ("fox", "Animals & Nature"), "1f35e": ("bread", "Food & Drink"), "1f600": ("face", "Smileys & Emotion")}
NAMES = {**PICTURED, "": ("dance", "Animals & Nature"), "1f98b": ("moth", "Animals & Nature")}


def emoji_data(folder: Path) -> Path:
    """A data set like that of the emoji: a picture and an animation for each code point, and one animation without a picture."""
    rng = np.random.default_rng(0)
    still, moving = folder / "noto_emoji", folder / "noto_emoji_animated"
    tables = {still: ["file\tcodepoints"], moving: ["file\tcodepoints\tname\tgroup"]}
    archives = {still: still / "noto_emoji_72px_png.zip", moving: moving / "noto_anim_64px_16f_webp.zip"}
    for part, archive in archives.items():
        part.mkdir(parents=True)
        with zipfile.ZipFile(archive, "w") as packed:
            for code, (name, group) in {
                **NAMES,
                "": ("dance", "Animals & Nature"),
                "1f98b": ("moth", "Animals & Nature"),
            }.items():
                if part == still and code in PICTURED:
                    _put(packed, f"{code}.png", rng.integers(0, 256, (72, 72, 4), dtype=np.uint8), "PNG")
                    tables[part].append(f"{code}.png\t{code}")
                if part == moving:
                    _put(packed, f"{name}.webp", rng.integers(0, 256, (64, 1024, 3), dtype=np.uint8), "WEBP")
                    tables[part].append(f"{name}.webp\t{code}\t{name}\t{group}")
        (part / "names.tsv").write_text("\n".join(tables[part]) + "\n", encoding="utf-8")
    return folder


class _Tokenizers:
    """All that is asked of those that rebuild nothing themselves."""

    media = MediaSpec(64, 64, temporal_stride=4)


def _put(packed: zipfile.ZipFile, name: str, pixels: np.ndarray, form: str) -> None:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, form, lossless=True)
    packed.writestr(name, content.getvalue())


def test_what_has_both_is_read_and_frames_between_are_in_no_record(tmp_path):
    trial = Trial(emoji_data(tmp_path / "data"), tmp_path / "out", 1)
    every = emoji.read_emoji(trial.data)
    assert [one.name for one in every] == ["fox", "bread"]
    assert all(one.picture.shape == (64, 64, 3) and one.animation.shape == (16, 64, 64, 3) for one in every)
    records = emoji.records(trial, "train")
    assert sorted({record.task for record in records}) == ["image→text", "text→image", "text→video", "video→text"]
    assert len(records) == len(every) * (2 + 2 + 8)
    media = [segment.data for record in records for segment in record.segments if segment.kind != "text"]
    learnt = {frame.tobytes() for one in media for frame in one.reshape(-1, 64, 64, 3)}
    for one in every:
        assert one.film.shape == one.between.shape == (9, 64, 64, 3)
        assert {frame.tobytes() for frame in one.animation[::2]} <= learnt
        assert not {frame.tobytes() for frame in one.between} & learnt


def test_a_tokenizer_is_scored_by_the_law(tmp_path, monkeypatch):
    """One that changes nothing leaves all films lawful; one that gives them backwards, none."""
    trial, fields = Trial(emoji_data(tmp_path / "data"), tmp_path / "out", 0.01), clips.phase_fields(0, 0, len(FAMILIES))
    monkeypatch.setattr(clips, "phase_fields", lambda *_: fields)
    for rebuilt, lawful, like in ((lambda _, films: films, 1.0, 100.0), (lambda _, films: films[:, ::-1], 0.0, None)):
        monkeypatch.setattr(clips, "rebuild_frames", rebuilt)
        true, behind, likeness, _ = clips.score_tokenizer(_Tokenizers(), trial)
        assert (true.value, behind.value) == (1.0, lawful)
        assert all(f"{name} {lawful:.2f}" in behind.note for name in FAMILIES)
        assert like is None or likeness.value == pytest.approx(like)
