"""From a user's files to examples: each file decoded once, nothing left of what cannot be, and the right things learnt from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ernest.config.recipe import Recipe, TokenizerConfig
from ernest.data import media, records
from ernest.data.decoded import DecodedRecords
from ernest.data.examples import encode, outline
from ernest.data.record_writer import save_records
from ernest.data.records import load_records, read_lines
from ernest.data.store import ExampleStore
from ernest.sequence.record import Record, given, made
from ernest.training import prepare
from ernest.training.prepare import train_on_records
from tests.small import CONFIG, tokenizers

RECIPE = Recipe(model=CONFIG, tokenizers=TokenizerConfig(vocabulary=300, vision_steps=2, audio_steps=2))
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
FILM = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
SOUND = RNG.uniform(-0.1, 0.1, 3000).astype(np.float32)
EVERYTHING = [
    *[Record((given("image", picture), made("text", "a picture")), "image→text") for picture in PICTURES],
    *[Record((given("text", "a picture"), made("image", picture)), "text→image") for picture in PICTURES],
    Record((given("video", FILM), made("text", "a film")), "video→text"),
    Record((given("text", "a film"), made("video", FILM, open=True)), "text→video"),
    Record((given("audio", SOUND), given("text", "who?"), made("text", "anna")), "speech→text"),
    Record((given("text", "anna"), made("audio", SOUND)), "text→speech"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records as `ernest import` writes them, but for one sound, which lies in a file of its own, as users may write them."""
    data = tmp_path / "data"
    save_records(data, EVERYTHING)
    media.write_audio(data / "a.wav", SOUND)
    lines = (data / records.LINES).read_text()
    (data / records.LINES).write_text(lines.replace('"media/audio.npy", "rows": [0, 3000]', '"a.wav"'))
    return data


@pytest.fixture
def decodes(monkeypatch) -> list[tuple[str, int]]:
    """The files that were decoded, and from which row, one entry for each time."""
    seen: list[tuple[str, int]] = []
    whole = records.StoredSegment._array_rows

    def counted_rows(segment, start, end):
        seen.append((segment.file.name, start))
        return whole(segment, start, end)

    monkeypatch.setattr(records.StoredSegment, "_array_rows", counted_rows)
    for name in ("read_image", "read_video", "read_audio"):
        original = getattr(media, name)

        def counted(path, *rest, original=original):
            seen.append((Path(path).name, 0))
            return original(path, *rest)

        monkeypatch.setattr(records.media, name, counted)
    return seen


@pytest.fixture
def no_training(monkeypatch) -> None:
    monkeypatch.setattr(prepare, "train_model", lambda run, recipe: run / "model")


@pytest.mark.usefixtures("no_training")
def test_each_file_is_decoded_once(folder, decodes, tmp_path):
    train_on_records(read_lines(folder), tmp_path / "run", RECIPE, None)
    assert sorted(decodes) == [("a.wav", 0), ("image.npy", 0), ("image.npy", 1), ("image.npy", 2), ("video.npy", 0)]
    store = ExampleStore(tmp_path / "run" / "examples")
    assert [store[i].task for i in range(len(store))] == [record.task for record in EVERYTHING]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["examples", "run.json", "tokenizers"]


@pytest.mark.usefixtures("no_training")
def test_a_run_that_was_cut_goes_on_from_its_last_stage(folder, decodes, tmp_path, monkeypatch):
    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "encode", cut)
    with pytest.raises(KeyboardInterrupt):
        train_on_records(read_lines(folder), tmp_path / "run", RECIPE, None)
    monkeypatch.undo()
    monkeypatch.setattr(prepare, "train_model", lambda run, recipe: run / "model")
    monkeypatch.setattr(prepare, "vision_tokenizer", cut)  # trained already
    once = len(decodes)
    train_on_records(read_lines(folder), tmp_path / "run", RECIPE, None)
    assert len(decodes) == once == 5
    assert len(ExampleStore(tmp_path / "run" / "examples")) == len(EVERYTHING)


@pytest.mark.parametrize("out", ["run", "new/run"])
def test_what_cannot_be_leaves_nothing(folder, tmp_path, out):
    short = replace(RECIPE, sequence=replace(RECIPE.sequence, length=30))
    with pytest.raises(ValueError, match=r"records\.jsonl, record 7: takes \d+ positions, more than sequence\.length = 30"):
        train_on_records(read_lines(folder), tmp_path / out, short, None)
    next(folder.rglob("*.wav")).write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"records\.jsonl, line 9: segments\[0\]\.file: .*\.wav: not a sound"):
        train_on_records(read_lines(folder), tmp_path / out, RECIPE, None)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_decoded_records_are_the_records(folder, tmp_path):
    lengths: list[int] = []
    DecodedRecords.write(tmp_path / "decoded", read_lines(folder), lambda number, record: lengths.append(number))
    decoded = DecodedRecords(tmp_path / "decoded")
    assert lengths == list(range(1, len(EVERYTHING) + 1))
    for one, other in zip(decoded, load_records(folder), strict=True):
        assert one.task == other.task
        for left, right in zip(one.segments, other.segments, strict=True):
            assert (left.kind, left.made, left.open) == (right.kind, right.made, right.open)
            assert np.array_equal(left.data, right.data)


def test_tokenizers_see_every_picture_and_sound_once(folder, tmp_path):
    DecodedRecords.write(tmp_path / "decoded", read_lines(folder), lambda number, record: None)
    decoded = DecodedRecords(tmp_path / "decoded")
    assert np.array_equal(decoded.images, PICTURES)
    assert np.array_equal(decoded.frames, FILM)
    ((wave, word),) = decoded.sounds()
    assert np.array_equal(wave, SOUND)
    assert word == "who?"


def test_outlines_have_the_shape_of_examples():
    """A record is measured before there are tokenizers: what is measured must be what they will make."""
    for record, example in zip(EVERYTHING, encode(EVERYTHING, tokenizers()), strict=True):
        for measured, segment in zip(outline(record).segments, example.segments, strict=True):
            assert (measured.form, measured.made, measured.video, measured.open) == (
                segment.form, segment.made, segment.video, segment.open,
            )  # fmt: skip
            assert len(measured.data) == len(segment.data)
