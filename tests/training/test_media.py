"""Other sizes and rates than the demo's: recipes of them train and answer, and what does not fit is refused before the work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings

from ernest.checkpoint import checkpoint_media, save_model, tokenizer_spec
from ernest.config.media import USUAL, MediaSpec
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.config.tokenizer_spec import usual_spec
from ernest.data.examples import EncodedSegment, encode_segments, outline
from ernest.data.importers import both_directions
from ernest.data.layout import lay_out_example
from ernest.data.record_writer import save_records
from ernest.data.records import read_lines
from ernest.data.store import ExampleStore
from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths
from ernest.sequence.record import Record, given, made
from ernest.tokenizers.audio import AudioConfig, AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.training.loop import train
from ernest.training.prepare import prepare
from ernest.training.run_settings import TrainingRun, check_run
from tests.config.test_media import specs
from tests.small import CONFIG, network

REDUCED = [f"model.{name}={value}" for name, value in vars(CONFIG).items() if isinstance(value, int)] + [
    *("tokenizers.vocabulary=300", "tokenizers.vision_steps=1", "tokenizers.audio_steps=2", "sequence.rows=1"),
    *("training.steps=2", "training.show_every=0", "training.bf16=false", "model.multi_token=true", "model.qk_norm=true"),
]


def records(spec: MediaSpec, frames: int, seconds: float, seed: int = 0) -> list[Record]:
    """A picture, a video and a sound at the sizes of a spec, each described and made."""
    rng = np.random.default_rng(seed)
    film = rng.integers(0, 256, (frames, *spec.size, 3), dtype=np.uint8)
    wave = rng.uniform(-0.1, 0.1, round(seconds * spec.sample_rate)).astype(np.float32)
    found = [("image", film[0], "a dot")] + [("video", film, "dots")] * (frames > 1) + [("audio", wave, "hush")]
    return [record for kind, data, words in found for record in both_directions(kind, data, words, {})]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learnt is not looked at here."""
    monkeypatch.setattr("ernest.tokenizers.training.audio.BATCH", 4)
    monkeypatch.setattr("ernest.training.frames.FRAMES_A_STEP", 8)


@pytest.mark.parametrize(("name", "frames", "seconds"), [("pictures64", 1, 1.0), ("films17", 17, 1.0), ("speech16", 5, 1.0)])
def test_a_recipe_trains_and_answers_in_its_sizes(name: str, frames: int, seconds: float, tmp_path: Path) -> None:
    recipe = load_recipe(find_recipe(name), REDUCED)
    media = recipe.media
    save_records(tmp_path / "data", records(media, frames, seconds) * 2, media)
    run = TrainingRun(read_lines(tmp_path / "data", media), tmp_path / "run", recipe)
    prepare(run, check_run(run))
    tokenizers = Tokenizers.load(tmp_path / "run/tokenizers")
    assert tokenizers.media == media
    assert tokenizer_spec(tokenizers) == usual_spec(tokenizers.text.vocab_size, media)
    model = train(recipe, ExampleStore(tmp_path / "run/examples"), tokenizers, tmp_path / "steps")
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    engine = Engine(model, tokenizers)
    assert engine.max_lengths == MaxLengths(48, media.frames, round(12.5 * media.longest_answer))
    engine = Engine(model, tokenizers, max_lengths=replace(engine.max_lengths, codec_frames=3, frames=frames))
    prompt = [[EncodedSegment("text", "a dot", False)]]
    assert engine.pictures(prompt)[0].shape == (*media.size, 3)
    assert engine.videos(prompt, frames=frames)[0].shape == (frames, *media.size, 3)
    assert len(engine.sounds(prompt)[0]) % (2 * media.sample_rate // 25) == 0
    importance = torch.zeros(recipe.model.layers, recipe.model.experts)
    save_model(tmp_path / "model", model, tokenizers, {}, importance)
    assert checkpoint_media(tmp_path / "model") == media


@drawn(specs())
@settings(max_examples=8, deadline=None)
def test_any_size_and_rate_goes_through_tokenizers_and_layout(spec: MediaSpec) -> None:
    """As many positions as the recipe says, and back to the size that went in."""
    with torch.random.fork_rng(), torch.no_grad():
        vision = VisionTokenizer(VisionTokenizerConfig(spec.size, bits=4, width=4)).eval()
        audio = AudioTokenizer(AudioConfig(2, 8, 8, 8, 8, spec.sample_rate)).eval()
        tokenizers = Tokenizers(TextTokenizer(), vision, audio, spec)
        frames = min(spec.frames, 5)
        *_, sound = (record.segments for record in records(spec, frames, 0.3))
        film = np.random.default_rng(0).integers(0, 256, (frames, *spec.size, 3), dtype=np.uint8)
        segments = encode_segments([made("video", film), *sound], tokenizers)
        total = vision.quantiser.history(torch.from_numpy(segments[0].data).float()).total
        assert vision.decode(total).shape == (frames, 3, *spec.size)
        assert len(audio.decode([torch.from_numpy(segments[2].data).long()])[0]) == 4 * spec.sample_rate * 2 // 25
    for segment, positions in [
        (made("video", film), spec.made_positions(frames)),
        (given("video", film), spec.given_positions(frames)),
        (given("audio", sound[1].data), spec.sound_positions(0.3)),
    ]:
        record = Record((segment, made("text", "a")))
        length = len(lay_out_example(outline(record, tokenizers), tokenizers, lambda text: [9]).layout)
        assert length == positions + 1 + (not segment.made) * 0


def named(refusal: ValueError) -> str:
    """The setting that a refusal names."""
    return str(refusal).split("--set ")[1].split(",")[0]


def reduced(*overrides: str) -> Recipe:
    return load_recipe(None, [*REDUCED, *overrides])


def test_what_is_longer_than_a_row_is_refused_with_the_length_that_holds_it(tmp_path: Path) -> None:
    """Before a file is opened: the pictures are not even there."""
    spec = MediaSpec(64, 64, 17)
    save_records(tmp_path / "data", records(spec, 17, 0.2), spec)
    (tmp_path / "data/media/video.npy").unlink()
    sized = ("media.height=64", "media.width=64", "media.frames=17")
    run = TrainingRun(read_lines(tmp_path / "data", spec), tmp_path / "run", reduced(*sized))
    with pytest.raises(ValueError, match=r"records.jsonl, line 3: its pictures and videos take 323 positions, more than") as told:
        check_run(run)
    one = replace(run, recipe=reduced(*sized, named(told.value)))
    with pytest.raises(ValueError, match="line 4: its pictures and videos take 1447 positions") as told:  # the next one is longer
        check_run(one)
    assert named(told.value) == "sequence.length=1536"
    check_run(replace(run, recipe=reduced(*sized, named(told.value))))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("media.width=64", "media/image.npy was imported at 32 x 32 pixels, and the recipe has 32 x 64 pixels"),
        ("media.sample_rate=16000", "was imported at 8000 samples a second, and the recipe has 16000 samples a second"),
        ("media.frame_rate=8.0", "was imported at 32 x 32 pixels, and the recipe has 32 x 32 pixels at 8 frames a second"),
    ],
)
def test_records_of_another_size_are_refused_with_the_settings_that_suit(setting: str, said: str, tmp_path: Path) -> None:
    save_records(tmp_path / "data", records(USUAL, 5, 0.2))
    with pytest.raises(ValueError, match=said) as told:
        read_lines(tmp_path / "data", reduced(setting).media)
    suited = str(told.value).split("--set ")[1].split()
    assert len(read_lines(tmp_path / "data", reduced(setting, *suited).media)) == 6


def test_tokenizers_of_another_recipe_are_refused_by_name(tmp_path: Path) -> None:
    spec = MediaSpec(64, 64)
    vision = VisionTokenizer(VisionTokenizerConfig(spec.size, width=8))
    tokenizers = Tokenizers(TextTokenizer(), vision, AudioTokenizer(), spec)
    tokenizers.save(tmp_path / "model/tokenizers")
    save_records(tmp_path / "data", records(USUAL, 5, 0.2))
    run = TrainingRun(read_lines(tmp_path / "data"), tmp_path / "run", reduced(), tmp_path / "model")
    with pytest.raises(ValueError, match=r"model/tokenizers: made for 64 x 64 pixels, and the recipe has 32 x 32 pixels: --set"):
        check_run(run)
    with pytest.raises(ValueError, match="the vision tokenizer is one of 64 x 64 pixels, the recipe's of 32 x 32"):
        Tokenizers(TextTokenizer(), vision, AudioTokenizer())
    with pytest.raises(ValueError, match="the audio tokenizer is one of 16000 samples a second, the recipe's of 8000"):
        Tokenizers(TextTokenizer(), vision, AudioTokenizer(AudioConfig(sample_rate=16000)), spec)
    with pytest.raises(ValueError, match="frames of 32 x 32 pixels: this tokenizer is one of 64 x 64"):
        vision.encode(torch.zeros(1, 3, 32, 32))


def test_an_answer_of_the_test_network_is_as_before() -> None:
    """The usual sizes, where nobody names any."""
    assert network().spec.scales == USUAL.scales
    assert MaxLengths() == MaxLengths.of(USUAL) == MaxLengths(48, 9, 26)
