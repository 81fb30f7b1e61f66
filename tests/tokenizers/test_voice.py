"""Voices from samples: one embedding whatever it is batched with, near for one voice and far for others, in its one position of
the context, and heard by the network; records with samples, and commands."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st

from ernest.checkpoint import Learnt, load_model, save_model, tokenizer_spec
from ernest.data import media
from ernest.data.collate import collate
from ernest.data.decoded import DecodedRecords
from ernest.data.examples import EncodedSegment, Example, encode_segments, outline
from ernest.data.layout import lay_out_example
from ernest.data.record_writer import save_records
from ernest.data.records import load_records
from ernest.export.folder import write_hf
from ernest.fit import no_progress
from ernest.generation.answer import generate
from ernest.generation.prompts import lay_out_prompt
from ernest.model.cost import trained_parameters
from ernest.model.network import Ernest
from ernest.sequence.record import Record, given, made
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.training import voice as training
from ernest.tokenizers.training.voice import train_voice_encoder
from ernest.tokenizers.voice import VoiceConfig, VoiceEncoder
from ernest.training.standalone import chosen_records
from ernest.training.tokenizer_data import voice_samples
from ernest.training.tokenizers import voice_encoder
from tests.small import CONFIG, Maker, recipe, tokenizers

SMALL = VoiceConfig(width=16, numbers=8)


def encoder(seed: int = 0) -> VoiceEncoder:
    torch.manual_seed(seed)
    return VoiceEncoder(SMALL).eval().requires_grad_(False)


def with_voices() -> Tokenizers:
    return replace(tokenizers(), voice=encoder())


def speaker(pitch: float, seed: int, seconds: float = 1.6) -> np.ndarray:
    """A buzz of a pitch that comes and goes in syllables of its own each time."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 8000)) / 8000
    buzz = sum(np.sin(2 * np.pi * pitch * harmonic * time) / harmonic for harmonic in range(1, 9))
    syllables = np.interp(time, np.linspace(0, seconds, 12), rng.uniform(0.1, 1, 12))
    return (0.1 * syllables * buzz + 0.002 * rng.normal(size=len(time))).astype(np.float32)


# ------------------------------------------------------------------ the encoder


@settings(max_examples=8, deadline=None)
@given_that(st.lists(st.integers(4000, 30000), min_size=1, max_size=5), st.integers(0, 100))
def test_an_embedding_hangs_on_no_other_sample(lengths, seed):
    rng = np.random.default_rng(seed)
    waves = [rng.normal(size=length).astype(np.float32) * 0.1 for length in lengths]
    network = encoder()
    together = network.embed(waves)
    torch.testing.assert_close(together, torch.cat([network.embed([wave]) for wave in waves]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together.square().mean(1), torch.ones(len(waves)))


def test_a_sample_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match=r"sample 1 of a voice: 0\.25 seconds are too short: take at least 0\.5"):
        encoder().embed([np.zeros(4000, np.float32), np.zeros(2000, np.float32)])


def test_training_brings_samples_of_a_voice_together_and_goes_on_where_it_was_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "KEEP_EVERY", 20)
    monkeypatch.setattr(training, "BATCH", 24)
    pitches = (90.0, 130.0, 180.0, 240.0)
    samples = [speaker(pitch, 10 * seed + n) for seed in range(4) for n, pitch in enumerate(pitches)]
    labels = np.arange(16) % 4

    def train(steps: int, state: Path | None = None) -> VoiceEncoder:
        return train_voice_encoder(samples, labels, steps, 0, config=SMALL, state=state)

    whole = train(50)
    new = whole.embed([speaker(pitch, 1000 + seed) for seed in range(3) for pitch in pitches]) / SMALL.numbers**0.5
    alike = new @ new.T
    same = torch.from_numpy(labels[:12, None] == labels[None, :12])
    assert alike[same].min() > alike[~same].max()

    class Cut(Exception):
        pass

    def cut(step: int, steps: int, metrics: object) -> None:
        if step == 30:
            raise Cut

    with pytest.raises(Cut):
        train_voice_encoder(samples, labels, 50, 0, cut, SMALL, tmp_path / "state.safetensors")
    again = train(50, tmp_path / "state.safetensors")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_one_voice_teaches_nothing():
    with pytest.raises(ValueError, match="two voices at least"):
        train_voice_encoder([speaker(100, 0)] * 2, np.zeros(2, np.int64), 5, 0, config=SMALL)


def test_it_is_saved_with_the_others(tmp_path):
    whole = with_voices()
    whole.save(tmp_path)
    wave = speaker(100, 0)
    loaded = Tokenizers.load(tmp_path).voice
    assert loaded is not None
    assert whole.voice is not None
    assert torch.equal(loaded.embed([wave]), whole.voice.embed([wave]))
    tokenizers().save(tmp_path / "none")
    assert Tokenizers.load(tmp_path / "none").voice is None
    with pytest.raises(ValueError, match="encoder of voices is one of 16000 samples a second, not of 8000"):
        replace(tokenizers(), voice=VoiceEncoder(VoiceConfig(16000)))


# ------------------------------------------------------------------ in the context


def voice(seed: int = 0) -> EncodedSegment:
    return EncodedSegment("voice", np.random.default_rng(seed).normal(size=(1, SMALL.numbers)).astype(np.float32), False)


def test_a_voice_takes_one_position_and_is_what_stands_there():
    make, whole = Maker(np.random.default_rng(0)), with_voices()
    first, second = voice(0), voice(1)
    example = Example((make.text(False, "seven"), first, second, make.codes(True, 2)), "")
    packed = lay_out_example(example, whole, whole.text.encode)
    words = len(whole.text.encode("seven"))
    batch = collate([[packed, packed]], 40, whole)
    length = len(packed.layout)
    assert length == words + 2 + 1 + 3
    assert batch.voices.index.tolist() == [words, words + 1, length + words, length + words + 1]
    np.testing.assert_array_equal(batch.voices.value, np.concatenate([first.data, second.data] * 2))
    assert (batch.token_target[0, words : words + 1] == -1).all()
    torch.manual_seed(0)
    model = Ernest(CONFIG, tokenizer_spec(whole)).eval()
    assert model.voice_projection is not None
    embedded = model.embed(batch).flatten(0, 1)
    torch.testing.assert_close(embedded[batch.voices.index], model.voice_projection(batch.voices.value))
    assert sum(p.numel() for p in model.parameters()) == trained_parameters(CONFIG, tokenizer_spec(whole))
    sum(part.float().square().mean() for part in model(batch).codes).backward()
    assert model.voice_projection.weight.grad is not None
    assert model.voice_projection.weight.grad.abs().sum() > 0


def test_spans_of_prompts_tell_a_voice_from_what_stands_beside_it():
    make, whole = Maker(np.random.default_rng(0)), with_voices()
    segments = (make.codes(False, 3), voice(0), voice(1), make.pixels(), make.text(False, "seven"))
    prompt = lay_out_prompt(segments, "audio", whole, False)
    assert prompt.spans == {0: range(1, 5), 1: range(5, 6), 2: range(6, 7), 3: range(8, 24)}
    assert lay_out_prompt(segments[-1:], "audio", whole, False).spans == {}
    assert lay_out_prompt((), "text", whole, False).spans == {}
    other = lay_out_prompt((segments[0], voice(2), *segments[2:]), "audio", whole, False)
    assert np.flatnonzero(prompt.key != other.key).tolist() == [5]
    assert [segment.form for segment in prompt.tail(6).example.segments] == ["voice", "pixels"]


def test_only_given_sounds_are_samples():
    wave = speaker(100, 0)
    assert given("audio", wave, voice="anna").voice == "anna"
    for kind, data, is_made in (("audio", wave, True), ("text", "seven", False)):
        with pytest.raises(ValueError, match="only a given sound can be a sample of a voice, such as 'anna'"):
            replace(made(kind, data) if is_made else given(kind, data), voice="anna")


# ------------------------------------------------------------------ records


def spoken(pitch: float, seed: int) -> Record:
    name = f"voice at {pitch:.0f}"
    segments = (
        given("text", "seven"),
        given("audio", speaker(pitch, seed), voice=name),
        made("audio", speaker(pitch, seed + 1, 0.4)),
    )
    return Record(segments, "text and voice→speech")


def test_records_keep_whose_voice_it_is_and_train_an_encoder(tmp_path):
    records = [spoken(pitch, seed) for seed, pitch in enumerate((90.0, 130.0, 90.0))]
    save_records(tmp_path / "records", records)
    loaded = load_records(tmp_path / "records")
    assert [segment.voice for segment in loaded[1].segments] == ["", "voice at 130", ""]
    DecodedRecords.write(tmp_path / "decoded", loaded, lambda line, record: None)
    decoded = DecodedRecords(tmp_path / "decoded")
    for one, other in zip(records, decoded, strict=True):
        assert [s.voice for s in one.segments] == [s.voice for s in other.segments]
    samples, names = voice_samples(decoded)
    assert names == ["voice at 90", "voice at 130", "voice at 90"]
    for sample, record in zip(samples, records, strict=True):
        np.testing.assert_array_equal(sample, record.segments[1].data)
    assert len(decoded.captions("audio")) == 3, "nobody said what samples say"
    few = replace(recipe(), tokenizers=replace(recipe().tokenizers, voice_steps=2))
    assert voice_encoder(samples, names, few, no_progress) is not None
    assert voice_encoder([], [], few, no_progress) is None
    (part, *_) = chosen_records("audio", tmp_path / "records", few).stored
    assert [segment.kind for segment in part.segments] == ["text", "audio"], "a codec learns nothing from samples"
    blank = outline(records[0], with_voices()).segments
    assert [s.form for s in blank] == [s.form for s in encode_segments(records[0].segments, with_voices())]


@pytest.mark.parametrize(
    ("segment", "says"),
    [
        ('{"kind": "text", "role": "made", "text": "a", "voice": "anna"}', "voice: only a sound has this field"),
        ('{"kind": "audio", "role": "made", "file": "a.wav", "voice": "anna"}', 'voice: a sample of a voice is "given"'),
        ('{"kind": "audio", "role": "given", "file": "a.wav", "voice": ""}', "voice: is empty"),
    ],
)
def test_mistakes_name_the_field(tmp_path, segment, says):
    (tmp_path / "records.jsonl").write_text(f'{{"segments": [{segment}, {{"kind": "text", "role": "made", "text": "b"}}]}}\n')
    with pytest.raises(ValueError, match=rf"line 1: segments\[0\].{says}"):
        load_records(tmp_path)


# ------------------------------------------------------------------ commands


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    torch.manual_seed(0)
    model = Ernest(CONFIG, tokenizer_spec(with_voices())).eval()
    learnt = Learnt(("audio+text→audio",), ("seven",), 200)
    save_model(folder, model, with_voices(), {"sequence": {"length": 200}}, torch.ones(6, 8), learnt)
    return folder


def test_generate_speaks_in_the_voice_of_a_file(checkpoint, tmp_path):
    media.write_audio(tmp_path / "low.wav", speaker(90, 0), 8000)
    media.write_audio(tmp_path / "high.wav", speaker(240, 0), 8000)
    said = []
    for name in ("low", "high", "low"):
        (result,) = generate(checkpoint, ["seven"], "audio", tmp_path / "said.wav", voice=tmp_path / f"{name}.wav")
        assert result.doubts == ()
        said.append(media.read_audio(tmp_path / "said.wav"))
    low, high, again = said
    np.testing.assert_allclose(low, again, atol=2e-4)
    assert len(low) != len(high) or np.abs(low - high).max() > 1e-3
    assert load_model(checkpoint)[0].spec.voice == SMALL.numbers


def test_voices_that_cannot_be_are_refused(checkpoint, tmp_path):
    media.write_audio(tmp_path / "a.wav", speaker(90, 0), 8000)
    with pytest.raises(ValueError, match="a voice is for a sound to be made, and this is to be text"):
        generate(checkpoint, ["seven"], "text", voice=tmp_path / "a.wav")
    old = tmp_path / "old"
    torch.manual_seed(0)
    save_model(old, Ernest(CONFIG, tokenizer_spec(tokenizers())).eval(), tokenizers(), {}, torch.ones(6, 8))
    with pytest.raises(ValueError, match="the model knows no voices from samples"):
        generate(old, ["seven"], "audio", tmp_path / "b.wav", voice=tmp_path / "a.wav")
    with pytest.raises(ValueError, match="knows voices from samples, which folders of transformers do not hold"):
        write_hf(checkpoint, tmp_path / "hf")
    assert not (tmp_path / "b.wav").exists()
