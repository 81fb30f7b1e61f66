"""From a user's files to examples: each file decoded once, nothing left of what cannot be, and the right things learnt from."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.config.media import BITS
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import Recipe
from ernest.config.tables import SequenceConfig, TokenizerConfig, TrainingConfig
from ernest.data import media, record_line, records
from ernest.data.collate import collate
from ernest.data.decoded import DecodedRecords
from ernest.data.examples import encode, outline
from ernest.data.importers import both_directions
from ernest.data.layout import lay_out_example
from ernest.data.record_writer import save_records
from ernest.data.records import load_records, read_lines
from ernest.data.store import ExampleStore
from ernest.sequence.record import Record, given, made
from ernest.storage import load_tensors
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.training import audio, vision
from ernest.training import prepare, tokenizer_data
from ernest.training.frames import draw_frames
from ernest.training.makers import open_examples
from ernest.training.prepare import TOLD_FROM, train_on_records
from ernest.training.run_settings import JUDGED_BY, TrainingRun
from ernest.training.switching import FIRST
from ernest.training.tokenizer_data import heard_sounds, shown_frames
from tests.small import CONFIG, tokenizers

RECIPE = Recipe(model=CONFIG, tokenizers=TokenizerConfig(vocabulary=300, vision_steps=2, audio_steps=2))
TOLD_NOTHING = replace(RECIPE, training=TrainingConfig(steps=TOLD_FROM - 1))
"""So short that its cost is not told before, for which a few steps would be trained."""
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
    whole = record_line.StoredSegment._array_rows

    def counted_rows(segment, start, end):
        seen.append((segment.file.name, start))
        return whole(segment, start, end)

    monkeypatch.setattr(record_line.StoredSegment, "_array_rows", counted_rows)
    for name in ("read_image", "read_video", "read_audio"):
        original = getattr(media, name)

        def counted(path, *rest, original=original):
            seen.append((Path(path).name, 0))
            return original(path, *rest)

        monkeypatch.setattr(media, name, counted)
    return seen


@pytest.fixture
def no_training(monkeypatch) -> None:
    monkeypatch.setattr(prepare, "train_model", lambda run, recipe: run / "model")


@pytest.mark.usefixtures("no_training")
def test_each_file_is_decoded_once(folder, decodes, tmp_path):
    train_on_records(TrainingRun(read_lines(folder), tmp_path / "run", RECIPE))
    assert sorted(decodes) == [("a.wav", 0), ("image.npy", 0), ("image.npy", 1), ("image.npy", 2), ("video.npy", 0)]
    store = ExampleStore(tmp_path / "run" / "examples")
    assert [store[i].task for i in range(len(store))] == [record.task for record in EVERYTHING]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["examples", "run.json", "tokenizers"]


@pytest.mark.usefixtures("no_training")
def test_documents_of_alternating_kinds_are_prepared_as_they_are(tmp_path):
    """Several kinds are made in each: all of their parts are learnt from, in their order."""
    first, second = PICTURES[:2]
    segments = (
        given("image", first),
        made("text", "a picture"),
        given("text", "say it"),
        made("audio", SOUND),
        made("image", second),
    )
    save_records(tmp_path / "data", [Record(segments, "in turn")] * 2)
    train_on_records(TrainingRun(read_lines(tmp_path / "data"), tmp_path / "run", TOLD_NOTHING))
    example = ExampleStore(tmp_path / "run" / "examples")[1]
    forms = [("pixels", False), ("text", True), ("text", False), ("codes", True), ("latent", True)]
    assert [(segment.form, segment.made) for segment in example.segments] == forms
    kit = Tokenizers.load(tmp_path / "run" / "tokenizers")
    packed = lay_out_example(example, kit, kit.text.encode)
    batch = collate([[packed]], len(packed.layout), kit)
    assert len(batch.code_targets.index) == len(example.segments[3].data) + 1
    assert float(batch.cell_targets.weight.sum()) == pytest.approx(1)
    learnt = batch.token_target.flatten()[batch.token_index].tolist()
    words = kit.text.encode("a picture")
    assert learnt[: len(words)] == words
    assert learnt[len(words) :] == [kit.text.sep, kit.text.boa, kit.text.boi, kit.text.eoi, kit.text.eos]


@pytest.mark.usefixtures("no_training")
def test_records_that_are_encoded_when_drawn_stay_decoded(folder, decodes, tmp_path, monkeypatch):
    """Nothing is encoded before the training but what judges the run, and nothing is done again."""
    settings = replace(TOLD_NOTHING, training=replace(TOLD_NOTHING.training, encode="drawn"))
    run = TrainingRun(read_lines(folder), tmp_path / "run", settings, held_out=read_lines(folder))
    train_on_records(run)
    assert sorted(path.name for path in run.out.iterdir()) == ["decoded", "held_out", "run.json", "tokenizers"]
    found = open_examples(run.out, Tokenizers.load(run.out / "tokenizers"))
    wanted = encode([EVERYTHING[0]], Tokenizers.load(run.out / "tokenizers"))
    assert [one.data.tolist() for one in found[0].segments if one.form == "pixels"] == [
        one.data.tolist() for example in wanted for one in example.segments if one.form == "pixels"
    ]
    assert list(found.tasks) == list(dict.fromkeys(record.task for record in EVERYTHING))
    monkeypatch.setattr(prepare, "text_tokenizer", None)
    once = len(decodes)
    train_on_records(run)
    assert len(decodes) == once


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("hearings", [0, 2])
def test_given_sounds_are_learnt_from_in_other_hearings_too(folder, tmp_path, hearings):
    """Whenever they are encoded; what judges the run is heard as it is."""
    for encoded in ("before", "drawn"):
        settings = replace(TOLD_NOTHING, training=replace(TOLD_NOTHING.training, hearings=hearings, encode=encoded))
        run = TrainingRun(read_lines(folder), tmp_path / encoded, settings, held_out=read_lines(folder))
        train_on_records(run)
        found = open_examples(run.out, Tokenizers.load(run.out / "tokenizers"), hearings)
        others = {name: [len(one.others) for one in found.glance(int(i)).segments] for name, (i, *_) in found.tasks.items()}
        assert others.pop("speech→text") == [hearings, 0, 0]
        assert not any(chain.from_iterable(others.values()))
        judges = ExampleStore(run.out / JUDGED_BY)
        assert not any(one.others for i in range(len(judges)) for one in judges.glance(i).segments)


@pytest.mark.usefixtures("no_training")
def test_a_run_that_was_cut_goes_on_from_its_last_stage(folder, decodes, tmp_path, monkeypatch):
    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "encode", cut)
    with pytest.raises(KeyboardInterrupt):
        train_on_records(TrainingRun(read_lines(folder), tmp_path / "run", TOLD_NOTHING))
    monkeypatch.undo()
    monkeypatch.setattr(prepare, "train_model", lambda run, recipe: run / "model")
    monkeypatch.setattr(tokenizer_data, "vision_tokenizer", cut)  # trained already
    once = len(decodes)
    train_on_records(TrainingRun(read_lines(folder), tmp_path / "run", TOLD_NOTHING))
    assert len(decodes) == once == 5
    assert len(ExampleStore(tmp_path / "run" / "examples")) == len(EVERYTHING)


@pytest.mark.usefixtures("no_training")
def test_tokenizers_that_are_trained_are_not_trained_again(folder, tmp_path, monkeypatch):
    """Cut before they are written, a run goes on from the states that they kept, and ends as the unbroken one."""
    train_on_records(TrainingRun(read_lines(folder), tmp_path / "whole", TOLD_NOTHING))

    def cut(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tokenizers, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            train_on_records(TrainingRun(read_lines(folder), tmp_path / "cut", TOLD_NOTHING))
    with monkeypatch.context() as patched:
        for kind in (vision, audio):
            patched.setattr(kind, "_loss", cut)  # a step
        train_on_records(TrainingRun(read_lines(folder), tmp_path / "cut", TOLD_NOTHING))
    for name in ("vision", "audio"):
        whole, resumed = (load_tensors(tmp_path / run / f"tokenizers/{name}.safetensors") for run in ("whole", "cut"))
        assert all(torch.equal(resumed[key], value) for key, value in whole.items())
    assert not (tmp_path / "cut/state").exists()


@pytest.mark.usefixtures("no_training")
def test_a_training_that_begins_with_few_bits_has_tokenizers_and_examples_of_both(folder, tmp_path):
    few = replace(TOLD_NOTHING, tokenizers=replace(RECIPE.tokenizers, first_bits=4))
    train_on_records(TrainingRun(read_lines(folder), tmp_path / "run", few))
    for run, bits in ((tmp_path / "run", BITS), (tmp_path / "run" / FIRST, 4)):
        store = ExampleStore(run / "examples")
        assert [one.task for one in map(store.glance, range(len(store)))] == [record.task for record in EVERYTHING]
        assert {part.data.shape[1] for n in range(len(store)) for part in store[n].segments if part.form == "latent"} == {bits}
        assert Tokenizers.load(run / "tokenizers").vision.spec.bits == bits
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"tokenizers\.first_bits: .* and these are .*other's: leave it out, or --tokenizers"):
        train_on_records(TrainingRun(read_lines(folder), tmp_path / "third", few, checkpoint=tmp_path / "other"))


@pytest.mark.parametrize("out", ["run", "new/run"])
def test_what_cannot_be_leaves_nothing(folder, tmp_path, out):
    short = replace(RECIPE, sequence=replace(RECIPE.sequence, length=30))
    with pytest.raises(
        ValueError, match=r"records\.jsonl, line 7: its pictures and videos take \d+ positions, more than sequence\.length = 30"
    ):
        train_on_records(TrainingRun(read_lines(folder), tmp_path / out, short))
    late = replace(RECIPE, sequence=SequenceConfig(rows=128, length=4, grows_to=(512,)))
    with pytest.raises(ValueError, match=r"records\.jsonl: no record of the mixture fits the first rows, of 4; one takes \d+"):
        train_on_records(TrainingRun(read_lines(folder), tmp_path / out, late))
    sounds = {"text→speech": 0.0, "speech→text": 0.0}  # are shorter than pictures
    early = replace(RECIPE, sequence=SequenceConfig(rows=64, length=20, grows_to=(640,)))
    with pytest.raises(ValueError, match=r"records\.jsonl: no record of the mixture fits the first rows, of 20; one takes \d+"):
        train_on_records(TrainingRun(read_lines(folder), tmp_path / out, replace(early, mixture=sounds)))
    alone = replace(early, parallel=ParallelConfig(replicate=4))
    with pytest.raises(ValueError, match=r"^4 processes: some steps have 2 rows, and each process takes one$"):
        train_on_records(TrainingRun(read_lines(folder), tmp_path / out, alone))
    next(folder.rglob("*.wav")).write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"records\.jsonl, line 9: segments\[0\]\.file: .*\.wav: not a sound"):
        train_on_records(TrainingRun(read_lines(folder), tmp_path / out, RECIPE))
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
    (wave,), _ = heard_sounds(decoded)
    assert np.array_equal(wave, SOUND)
    assert decoded.captions("audio") == {(0, 3000): ["who?", "anna"]}
    assert decoded.captions("image") == {(n, n + 1): ["a picture"] for n in range(3)}


def as_decoded(folder: Path, records: list[Record]) -> DecodedRecords:
    save_records(folder / "data", records)
    DecodedRecords.write(folder / "decoded", read_lines(folder / "data"), lambda number, record: None)
    return DecodedRecords(folder / "decoded")


def test_words_of_captions_are_what_frames_and_films_are_to_say(tmp_path):
    """Pictures and films of two kinds each, in two phrasings: what tells the kinds apart weighs most, and pairs of frames are of
    one film, the earlier one first."""
    rng = np.random.default_rng(3)
    records = []
    for number in range(40):
        kind, phrase = number % 4, ("a photo of", "look:")[number // 4 % 2]
        words = f"{phrase} {('a cat', 'a dog', 'something falling', 'something rising')[kind]}"
        data = rng.integers(0, 256, ((32, 32, 3) if kind < 2 else (5, 32, 32, 3)), dtype=np.uint8)
        data.flat[0] = kind  # so that a frame tells what it is
        records += both_directions("image" if kind < 2 else "video", data, words, {})
    shown, count = shown_frames(as_decoded(tmp_path, records))
    stills, films = shown
    assert (len(stills.frames), len(films.frames), count) == (20, 100, 8)  # cat dog falling rising something a look photo
    batch = draw_frames(shown, np.random.default_rng(0))
    of_kind = [
        batch.targets[: len(batch.targets) // 2][[frame.flat[0] == kind for frame in batch.frames[:22]]] for kind in (0, 1)
    ]
    assert {row.argmax() for row in of_kind[0]} != {row.argmax() for row in of_kind[1]}
    assert all(len(np.unique(rows, axis=0)) == 2 for rows in of_kind)  # by phrasing
    assert np.allclose(batch.targets.sum(1), 1)
    film_of = {frame.tobytes(): number // 5 for number, frame in enumerate(films.frames)}
    place_of = {frame.tobytes(): number for number, frame in enumerate(films.frames)}
    assert sorted(batch.pairs.flatten()) == list(range(22, 44))  # no frame of a film stands alone
    for before, after in batch.pairs:
        one, other = batch.frames[before].tobytes(), batch.frames[after].tobytes()
        assert film_of[one] == film_of[other]
        assert place_of[one] < place_of[other]


def test_sounds_say_their_texts_where_those_come_back_and_else_their_words(tmp_path):
    waves = RNG.uniform(-0.1, 0.1, (24, 1500)).astype(np.float32)
    few = [
        record for number, wave in enumerate(waves) for record in both_directions("audio", wave, ("yes", "no")[number % 2], {})
    ]
    assert heard_sounds(as_decoded(tmp_path / "few", few))[1].tolist() == [1, 0] * 12
    many = [both_directions("audio", wave, f"take {n}: {('yes', 'no')[n % 2]}", {})[0] for n, wave in enumerate(waves)]
    assert heard_sounds(as_decoded(tmp_path / "many", many))[1].tolist() == [[0, 1], [1, 0]] * 12
    none = [both_directions("audio", wave, f"take{n}", {})[0] for n, wave in enumerate(waves)]
    assert heard_sounds(as_decoded(tmp_path / "none", none))[1].tolist() == [0] * 24


def test_outlines_have_the_shape_of_examples():
    """A record is measured before there are tokenizers: what is measured must be what they will make."""
    for record, example in zip(EVERYTHING, encode(EVERYTHING, tokenizers()), strict=True):
        for measured, segment in zip(outline(record, tokenizers()).segments, example.segments, strict=True):
            assert (measured.form, measured.made, measured.video, measured.open) == (
                segment.form, segment.made, segment.video, segment.open,
            )  # fmt: skip
            assert len(measured.data) == len(segment.data)


def test_all_captions_of_a_file_are_learnt_from_and_the_longest_must_fit(tmp_path):
    """The text tokenizer, the words that frames are to say and the length of a document: of each caption, not of the first."""
    others = ("a cat that lies on a chair beside the window and sleeps in the sun all day long",)
    decoded = as_decoded(tmp_path, list(both_directions("image", PICTURES[0], "a cat", {}, others)))
    assert decoded.captions("image") == {(0, 1): ["a cat", *others]}
    assert decoded[0].segments[1] == made("text", "a cat", others=others)
    short = replace(RECIPE, sequence=replace(RECIPE.sequence, length=30))
    with pytest.raises(ValueError, match=r"line 1: takes \d+ positions, more than sequence\.length = 30"):
        train_on_records(TrainingRun(read_lines(tmp_path / "data"), tmp_path / "run", short))
