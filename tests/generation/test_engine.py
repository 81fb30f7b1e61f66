"""Step by step with a cache is one teacher-forced pass (rows 2 and 27b), for prompts of all forms in one batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import PackedExample, lay_out_example
from ernest.generation.decoder import Decoder, plan_row
from ernest.generation.engine import Engine, MaxLengths
from ernest.generation.sampling import Sampling
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, stack
from ernest.sequence.groups import CodeTokens, TextTokens
from tests.references import likelihood
from tests.small import BITS, CODES, CONFIG, LEVELS, Maker, network, placed, placed_with, tokenizers

LIMITS = MaxLengths(tokens=8, frames=3, codec_frames=4)
HALF = SubModel((0, 2, 3, 4, 5), ((0, 1, 2, 5),) * 6, 1)
AS_IS = Sampling()


@pytest.fixture(scope="module")
def model() -> Ernest:
    """Ends of texts and sounds are made likely, so that rows of a batch end at different steps."""
    model = network()
    with torch.no_grad():
        model.text_head.weight[tokenizers().text.eos] *= 8
        model.audio.code_heads[0].weight[CODES] *= 6
    return model


def prompts() -> list[tuple[EncodedSegment, ...]]:
    """Text, a picture, a sound, a video and several of them: seven prompts of different lengths."""
    make = Maker(np.random.default_rng(3))
    return [
        (make.text(False, "a red seven at the top left"),),
        (make.text(False, "a"),),
        (make.pixels(),),
        (make.codes(False, 5),),
        (make.pixels(5, True),),
        (make.pixels(), make.text(False, "anna says"), make.codes(False, 2)),
        (make.codes(False, 3), make.text(False, "a disk")),
    ]


def forward(model: Ernest, rows: list[PackedExample], submodel: SubModel | None = None):
    batch = collate([[row] for row in rows], max(len(row.layout) for row in rows), tokenizers())
    return batch, lambda b: model(b, None if submodel is None else stack([submodel] * len(rows), CONFIG))


@torch.inference_mode()
@pytest.mark.parametrize("submodel", [None, HALF], ids=["full", "half"])
def test_text(model, submodel):
    make = Maker(np.random.default_rng(4))
    drawn = replace(make.latent(), made=False)  # a picture that the model drew before is as good a prompt as any
    asked = [*prompts(), (make.text(False), drawn)]
    made = Engine(model, tokenizers(), submodel, LIMITS).generate(asked, "text", AS_IS, seed=1)
    lengths = {len(ids) for ids in made.values}
    assert LIMITS.tokens in lengths
    assert min(lengths) < LIMITS.tokens  # some rows end early, and others go on beside them
    rows = [
        placed_with((*prompt, EncodedSegment("text", "", True)), TextTokens(tuple(ids)))
        for prompt, ids in zip(asked, made.values, strict=True)
    ]
    batch, run = forward(model, rows, submodel)
    cut_short = torch.zeros(batch.token_id.shape, dtype=torch.bool)
    for row, ids in enumerate(made.values):
        cut_short[row, len(rows[row].layout) - 1] = len(ids) == LIMITS.tokens  # no end was chosen
    expected = likelihood.symbols_of(run(batch), batch, len(rows), cut_short)
    assert (made.log_likelihood - expected).abs().max() <= 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("submodel", [None, HALF], ids=["full", "half"])
@pytest.mark.parametrize(("kind", "frames"), [("image", 1), ("video", 3)])
def test_vision(model, kind, frames, submodel):
    quantiser = tokenizers().vision.quantiser
    made = Engine(model, tokenizers(), submodel, LIMITS).generate(prompts(), kind, AS_IS, seed=2)
    blank = EncodedSegment("latent", np.zeros((frames, BITS, 4, 4), np.float16), True, kind == "video")
    rows = [placed(Example((*prompt, blank), "")) for prompt in prompts()]
    batch, run = forward(model, rows, submodel)
    batch = likelihood.with_bits(batch, made.bits, quantiser)
    expected = likelihood.bits_of(run(batch), batch, len(rows))
    assert (made.log_likelihood - expected).abs().max() <= 1e-4
    for bits, total in zip(made.bits, made.values, strict=True):
        assert bits.shape == (frames, 21, BITS)
        torch.testing.assert_close(quantiser.sum(bits), total)


@torch.inference_mode()
@pytest.mark.parametrize("submodel", [None, HALF], ids=["full", "half"])
def test_audio(model, submodel):
    made = Engine(model, tokenizers(), submodel, LIMITS).generate(prompts(), "audio", AS_IS, seed=0)
    lengths = [len(codes) for codes in made.values]
    assert LIMITS.codec_frames in lengths
    assert min(lengths) < LIMITS.codec_frames
    assert all(codes.max() < CODES for codes in made.values if len(codes))
    rows = [
        placed(Example((*prompt, EncodedSegment("codes", codes.numpy(), True)), ""))
        for prompt, codes in zip(prompts(), made.values, strict=True)
    ]
    batch, run = forward(model, rows, submodel)
    expected = likelihood.codes_of(run(batch), batch, [min(n + 1, LIMITS.codec_frames) for n in lengths])
    assert (made.log_likelihood - expected).abs().max() <= 1e-4


@torch.inference_mode()
def test_audio_logits_of_fed_codes_are_those_of_teacher_forcing(model):
    make = Maker(np.random.default_rng(5))
    spoken = [make.codes(True, 5) for _ in prompts()]
    rows = [placed(Example((*prompt, codes), "")) for prompt, codes in zip(prompts(), spoken, strict=True)]
    batch, run = forward(model, rows)
    forced = torch.stack(run(batch).codes, dim=1).view(len(rows), 6, LEVELS, CODES + 1)

    truth = torch.stack([torch.from_numpy(np.pad(p.data, ((0, 1), (0, 0)), constant_values=CODES)) for p in spoken]).long()
    plans = [plan_row(prompt, CodeTokens(5), 6, tokenizers(), False) for prompt in prompts()]
    decoder = Decoder(model, tokenizers(), plans, None, bf16=False)
    heard: list[torch.Tensor] = []

    def feed(level: int, logits: torch.Tensor) -> torch.Tensor:
        heard.append(logits)
        return truth[:, (len(heard) - 1) // LEVELS, level]

    decoder.prefill(lambda layer, x: model.audio.step(layer, x, decoder.last, feed))
    for frame in range(5):
        x = model.audio.embed(truth[:, frame])[:, None]
        decoder.advance(x, lambda layer, x: model.audio.step(layer, x, torch.arange(len(rows)), feed))
    stepped = torch.stack(heard, dim=1).view(len(rows), 6, LEVELS, CODES + 1)
    assert (forced - stepped).abs().max() <= 1e-4


@torch.inference_mode()
def test_guidance_runs_both_passes_in_one_batch(model):
    """Greedy guided bits are the signs of l + g (l - l_hidden), with both logits from teacher-forced passes over them."""
    quantiser = tokenizers().vision.quantiser
    asked = [p for p in prompts() if p[0].form == "text" or p[-1].form == "text"]
    guidance = 1.5
    made = Engine(model, tokenizers(), None, LIMITS).generate(asked, "image", Sampling(temperature=0.0, guidance=guidance))
    blank = EncodedSegment("latent", np.zeros((1, BITS, 4, 4), np.float16), True)
    logits, expected = [], []
    for drop_condition in (False, True):
        rows = [
            lay_out_example(Example((*prompt, blank), ""), tokenizers(), tokenizers().text.encode, drop_condition)
            for prompt in asked
        ]
        batch, run = forward(model, rows)
        batch = likelihood.with_bits(batch, made.bits, quantiser)
        predictions = run(batch)
        logits.append(predictions.bits)
        expected.append(likelihood.bits_of(predictions, batch, len(asked)))
    own, hidden = logits
    guided = own + guidance * (own - hidden)
    bits = torch.cat(made.bits).flatten(0, 1)
    sure = guided.abs() > 1e-3
    assert torch.equal((guided > 0)[sure], bits[sure])
    assert ((own > 0) != bits).any()  # without guidance some bits would have been others
    assert (made.log_likelihood - expected[0]).abs().max() <= 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["text", "video", "audio"])
def test_answers_do_not_depend_on_the_neighbours(model, kind):
    engine = Engine(model, tokenizers(), None, LIMITS)
    greedy = Sampling(temperature=0.0)
    together = engine.generate(prompts(), kind, greedy)
    for rows in (1, 3):
        alone = engine.generate(prompts(), kind, greedy, rows=rows)
        assert (together.log_likelihood - alone.log_likelihood).abs().max() <= 1e-4
        for one, other in zip(together.values, alone.values, strict=True):
            torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other))


@torch.inference_mode()
def test_a_video_goes_on_from_its_first_frame(model):
    quantiser = tokenizers().vision.quantiser
    engine = Engine(model, tokenizers(), None, LIMITS)
    latent = torch.randn(2, 1, BITS, 4, 4, generator=torch.Generator().manual_seed(0))
    made = engine.generate(prompts()[:2], "video", AS_IS, seed=4, first_frames=latent)
    free = engine.generate(prompts()[:2], "video", AS_IS, seed=4)
    begun = torch.stack(made.values)
    torch.testing.assert_close(begun[:, 0], quantiser.history(latent[:, 0]).total)
    assert not torch.equal(begun[:, 1], torch.stack(free.values)[:, 1])
    blank = EncodedSegment("latent", np.zeros((3, BITS, 4, 4), np.float16), True, True)
    batch, run = forward(model, [placed(Example((*prompt, blank), "")) for prompt in prompts()[:2]])
    batch = likelihood.with_bits(batch, made.bits, quantiser)
    # Only what was chosen counts: the frames after the first.
    log_p = -torch.nn.functional.binary_cross_entropy_with_logits(run(batch).bits, batch.cell_targets.bits, reduction="none")
    expected = log_p.view(2, 3, 21, BITS)[:, 1:].sum((1, 2, 3))
    assert (made.log_likelihood - expected).abs().max() <= 1e-4


def test_a_seed_fixes_the_answer(model):
    engine = Engine(model, tokenizers(), None, LIMITS)
    first, again, other = (torch.stack(engine.generate(prompts(), "image", AS_IS, seed=s).values) for s in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_pictures_videos_sounds_and_texts_have_their_shapes(model):
    engine = Engine(model, tokenizers(), None, LIMITS)
    asked = prompts()[:2]
    assert engine.pictures(asked).shape == (2, 32, 32, 3)
    videos = engine.videos(asked)
    assert videos.shape == (2, 3, 32, 32, 3)
    assert videos.dtype == np.uint8
    assert all(isinstance(text, str) for text in engine.texts(asked))


def test_nothing_said_is_a_moment_of_silence():
    model = network()
    with torch.no_grad():
        model.audio.code_heads[0].weight[CODES] *= -4  # about as likely as all other codes together
    engine = Engine(model, tokenizers(), None, LIMITS)
    codes = engine.generate(prompts() * 2, "audio", AS_IS, seed=0).values
    sounds = engine.sounds(prompts() * 2, AS_IS, seed=0)
    assert min(map(len, codes)) == 0 < max(map(len, codes))
    assert [len(sound) for sound in sounds] == [640 * max(1, len(code)) for code in codes]
    assert all(sound.any() == bool(len(code)) for sound, code in zip(sounds, codes, strict=True))
