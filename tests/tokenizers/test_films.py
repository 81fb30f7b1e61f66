"""Films with a temporal stride: equal to the tokenizer of pictures on one frame, causal, in chunks as whole, trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ernest.tokenizers
from ernest.checkpoint import tokenizer_spec
from ernest.config.media import USUAL, MediaSpec, latent_count
from ernest.data.examples import EncodedSegment, encode_segments, outline
from ernest.data.layout import lay_out_example
from ernest.data.record_writer import save_records
from ernest.evaluation.evaluate import rebuild_frames
from ernest.evaluation.tokenizers import measure_tokenizer
from ernest.fit import Progress, no_progress
from ernest.generation.engine import Engine
from ernest.model.network import Ernest
from ernest.sequence.record import Record, made
from ernest.sequence.record import given as given_segment
from ernest.tokenizers.standalone import PictureTokenizer, save_standalone
from ernest.tokenizers.streams import film_bits
from ernest.tokenizers.training import films as training
from ernest.tokenizers.training.films import train_on_films
from ernest.tokenizers.training.vision import VisionTraining, train_vision_tokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig, inflate, to_frames
from ernest.training.frames import ShownFrames, draw_clips, draw_frames
from ernest.training.standalone import decode_for
from ernest.training.tokenizers import vision_tokenizer
from tests.small import BITS, CONFIG, recipe, tokenizers

STRIDES = (2, 4)


def film(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(frames, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def inflated(stride: int) -> VisionTokenizer:
    """Of the small tokenizer; every new layer is in play, as after training."""
    films = inflate(tokenizers().vision, stride)
    torch.manual_seed(stride)
    for part in (films.compress, films.expand):
        assert part is not None
        torch.nn.init.normal_(part.mix[-1].weight, std=0.3)
        torch.nn.init.normal_(part.mix[-1].bias, std=0.3)
    return films.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=STRIDES)
def films(request) -> VisionTokenizer:
    return inflated(request.param)


# ------------------------------------------------------------------ invariants


def test_a_picture_has_the_latent_and_the_look_that_the_tokenizer_of_pictures_gives_it(films):
    pictures, flat = film(3), tokenizers().vision
    latents = flat.encode(pictures)
    for one, latent in zip(pictures, latents, strict=True):
        assert (films.encode_film(one[None])[0] - latent).abs().max() <= 1e-5
        assert (films.encode(one[None])[0] - latent).abs().max() <= 1e-5
        assert (films.decode_film(latent[None]) - flat.decode(latent[None])).abs().max() <= 1e-5
    torch.testing.assert_close(films.features(pictures), flat.features(pictures))


@pytest.mark.parametrize("stride", STRIDES)
def test_right_after_inflation_groups_have_the_latents_of_their_last_frames(stride):
    fresh, flat, frames = inflate(tokenizers().vision, stride).eval(), tokenizers().vision, film(1 + 2 * stride)
    latents = fresh.encode_film(frames)
    assert (latents - flat.encode(frames[::stride])).abs().max() <= 1e-5
    drawn = fresh.decode_film(latents)
    assert len(drawn) == len(frames)
    assert (drawn[::stride] - flat.decode(latents)).abs().max() <= 1e-5


def test_latents_hang_on_no_later_frame_and_frames_on_no_later_latent(films):
    stride, frames = films.config.stride, film(1 + 3 * films.config.stride)
    latents = films.encode_film(frames)
    assert len(latents) == 4
    for changed in range(len(frames)):
        other = frames.clone()
        other[changed:] = film(len(frames) - changed, 1)
        moved = (films.encode_film(other) - latents).abs().flatten(1).amax(1)
        first = latent_count(changed + 1, stride) - 1
        assert (moved[:first] == 0).all()
        assert (moved[first:] > 1e-3).all()
    drawn = films.decode_film(latents)
    for changed in range(len(latents)):
        other = latents.clone()
        other[changed:] = torch.randn(other[changed:].shape, generator=torch.Generator().manual_seed(2))
        moved = (films.decode_film(other) - drawn).abs().flatten(1).amax(1)
        first = 0 if changed == 0 else 1 + (changed - 1) * stride
        assert (moved[:first] == 0).all()
        assert (moved[first:] > 1e-4).all()


def test_a_film_that_ends_within_a_group_is_filled_up_with_its_last_frame(films):
    stride = films.config.stride
    frames = film(2 + stride)
    filled = torch.cat([frames, frames[-1:].expand(stride - 1, -1, -1, -1)])
    assert torch.equal(films.encode_film(frames), films.encode_film(filled))
    assert len(films.decode_film(films.encode_film(frames))) == 1 + 2 * stride


# ------------------------------------------------------------------ alone, and in chunks


@pytest.fixture(scope="module")
def alone(films, tmp_path_factory) -> PictureTokenizer:
    folder = tmp_path_factory.mktemp("alone")
    save_standalone(folder, films, replace(USUAL, temporal_stride=films.config.stride), "small")
    found = ernest.tokenizers.load(folder)
    assert isinstance(found, PictureTokenizer)
    return found


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_however_a_film_is_cut_its_bits_are_those_of_the_whole(alone, lengths):
    frames = 1 + sum(lengths)
    pixels = np.random.default_rng(frames).integers(0, 256, (frames, 32, 32, 3)).astype(np.uint8)
    whole = film_bits(alone.network, pixels)
    assert len(whole) == latent_count(frames, alone.network.config.stride)
    stream, parts, start = alone.stream(), [], 0
    for length in (*lengths, 1):
        parts.append(stream.push(pixels[start : start + length]))
        start += length
        assert sum(map(len, parts)) == (0 if not start else 1 + (start - 1) // alone.network.config.stride)
    parts.append(stream.finish())
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(alone.encode(pixels), whole)
    assert len(stream.finish()) == 0


def test_many_latents_are_decoded_in_chunks_as_whole(alone, monkeypatch):
    bits = np.random.default_rng(0).random((7, alone.network.quantiser.cells, BITS)) < 0.5
    whole = alone.decode(bits)
    assert len(whole) == 1 + 6 * alone.network.config.stride
    monkeypatch.setattr("ernest.tokenizers.standalone.CHUNK", 2)
    assert np.abs(alone.decode(bits).astype(int) - whole).max() <= 1
    assert alone.decode(bits[0]).shape == (32, 32, 3)


# ------------------------------------------------------------------ beside a model


def test_a_model_makes_films_by_their_latents():
    """A film takes a position for each cell of its latents, not of its frames, and comes back with all of them."""
    media = MediaSpec(temporal_stride=4)
    whole = replace(tokenizers(), vision=inflated(4), media=media)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    record = Record((given_segment("text", "a disk shrinking"), made("video", pixels)), "")
    _, latent = encode_segments(record.segments, whole)
    expected = whole.vision.encode_film(to_frames(pixels))
    np.testing.assert_allclose(latent.data, expected, atol=2e-3, rtol=2e-3)
    assert outline(record, whole).segments[1].data.shape[0] == len(latent.data) == media.latents(9) == 3
    packed = lay_out_example(outline(record, whole), whole, whole.text.encode)
    assert len(packed.layout) == len(whole.text.encode("a disk shrinking")) + media.made_positions(9) + 1 - 1
    torch.manual_seed(0)
    engine = Engine(Ernest(CONFIG, tokenizer_spec(whole)), whole)
    asked = [[EncodedSegment("text", "a disk shrinking", False)]]
    (video,) = engine.videos(asked, frames=9, first=torch.from_numpy(latent.data[:1])[None])
    assert video.shape == (9, 32, 32, 3)
    assert engine.max_lengths.frames == 3
    assert engine.pictures(asked)[0].shape == (32, 32, 3)
    assert rebuild_frames(whole, pixels[None]).shape == (1, 9, 32, 32, 3)
    with pytest.raises(ValueError, match="the vision tokenizer has a temporal stride of 4, the recipe of 1"):
        replace(whole, media=MediaSpec())


# ------------------------------------------------------------------ training


def moving(count: int, frames: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Films of a bright square that crosses the frame, one behind the other, and where each begins and ends."""
    pixels = np.full((count, frames, 32, 32, 3), 30, np.uint8)
    rng = np.random.default_rng(0)
    for one in pixels:
        top, way, colour = rng.integers(2, 20), rng.integers(1, 3), rng.integers(120, 255, 3)
        for number, frame in enumerate(one):
            frame[top : top + 10, way * number : way * number + 10] = colour
    starts = np.arange(count) * frames
    return pixels.reshape(-1, 32, 32, 3), np.stack([starts, starts + frames], 1).repeat(frames, 0)


def quality(tokenizer: VisionTokenizer, pixels: np.ndarray) -> float:
    clip = to_frames(pixels)
    with torch.inference_mode():
        drawn = tokenizer.decode_film(tokenizer.quantiser.history(tokenizer.encode_film(clip)).total)
    return float(-10 * torch.log10((drawn - clip).square().mean()))


def train_small(steps: int, state: Path | None = None, progress: Progress = no_progress) -> list[VisionTokenizer]:
    """A small tokenizer of pictures, and what training on films makes of it, each in so many steps."""
    frames, rows = moving(6)
    shown = [ShownFrames(frames, lambda picks: np.zeros((len(picks), 1), np.float32), rows)]
    config, settings = VisionTokenizerConfig(width=16, bits=8, classes=1), VisionTraining(steps=steps, warm_up=10, average=0.9)
    flat = train_vision_tokenizer(lambda step: draw_frames(shown, np.random.default_rng(step)), config, settings)
    draw = lambda step: draw_clips(shown, np.random.default_rng(step))
    return [flat, train_on_films(flat, 4, draw, settings, 0, progress, state)]


@pytest.mark.long
def test_training_draws_films_better_than_inflation_does():
    flat, films = train_small(200)
    frames = moving(6)[0][:9]
    assert quality(films, frames) > quality(inflate(flat, 4).eval(), frames) + 2


def test_a_training_on_films_that_was_cut_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "KEEP_EVERY", 2)

    def cut(step: int, steps: int, metrics: object) -> None:
        if step == 3:
            raise InterruptedError

    _, whole = train_small(4)
    with pytest.raises(InterruptedError):
        train_small(4, tmp_path / "state.safetensors", cut)
    _, again = train_small(4, tmp_path / "state.safetensors")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_recipe_with_a_stride_trains_both(tmp_path):
    frames, rows = moving(2)
    shown = [ShownFrames(frames, lambda picks: np.zeros((len(picks), 1), np.float32), rows)]
    few = replace(recipe().tokenizers, vision_steps=1, film_steps=1)
    media = MediaSpec(temporal_stride=2)
    trained = vision_tokenizer(
        shown, replace(recipe(), media=media, tokenizers=few), no_progress, classes=1, state=tmp_path / "a.x"
    )
    assert trained.spec.temporal_stride == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.x", "films-a.x"]
    assert vision_tokenizer([], replace(recipe(), media=media), no_progress).spec.temporal_stride == 2


def test_clips_are_of_one_film_and_follow_each_other():
    frames = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    rows = np.array([[0, 30]] * 30 + [[30, 35]] * 5 + [[35, 40]] * 5)
    shown = [ShownFrames(frames, lambda picks: (picks[:, None] // 30).astype(np.float32), rows)]
    for step in range(20):
        batch = draw_clips(shown, np.random.default_rng(step))
        for clip, (late,) in zip(batch.clips[:, :, 0, 0, 0], batch.targets, strict=True):
            first, last = (0, 29) if not late else (30, 34) if clip[0] < 35 else (35, 39)
            assert clip.tolist() == [min(int(clip[0]) + n, last) for n in range(9)]
            assert clip[0] >= first
        assert batch.stills.frames.shape == (8, 8, 8, 3)


def test_a_report_measures_films_whole(alone, tmp_path):
    pixels, _ = moving(1)
    save_records(tmp_path / "records", [Record((made("video", pixels),)), Record((made("image", pixels[0]),))])
    report = measure_tokenizer(alone, decode_for(alone, tmp_path / "records", tmp_path / "decoded"), "two records")
    values = {one.name: one.value for one in report.measures}
    assert values["a frame"] == alone.network.quantiser.cells * BITS / 8 / alone.network.config.stride
    still, film = report.pairs
    assert (np.asarray(still.rebuilt) == alone.decode(alone.encode(pixels[0]))).all()
    assert (np.asarray(film.rebuilt) == alone.decode(alone.encode(pixels))).all()
