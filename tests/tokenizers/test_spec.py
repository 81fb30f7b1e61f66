"""The tokenizers are what the interface asks for, and the sizes that they state are those of what they give."""

import math

import numpy as np
import pytest
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.spec import AudioCodec, VisualTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from tests.small import tokenizers

CONFIGS = [VisionTokenizerConfig(width=8), VisionTokenizerConfig(size=64, bits=6, scales=(2, 4, 8), width=4)]


def test_each_offers_its_own_interface_and_not_the_other() -> None:
    """Static as well: the type checker reads the annotations."""
    vision: VisualTokenizer = tokenizers().vision
    audio: AudioCodec = tokenizers().audio
    assert isinstance(vision, VisualTokenizer)
    assert isinstance(audio, AudioCodec)
    assert not isinstance(audio, VisualTokenizer)
    assert not isinstance(tokenizers().text, VisualTokenizer | AudioCodec)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_the_visual_sizes_are_those_of_what_comes_out(config: VisionTokenizerConfig) -> None:
    tokenizer: VisualTokenizer = VisionTokenizer(config).eval()
    spec = tokenizer.spec
    frames = torch.rand(4, 3, *spec.size)
    latent = tokenizer.encode(frames)
    assert latent.shape == (4 // spec.temporal_stride, spec.bits, *spec.scales[-1])
    history = tokenizer.quantiser.history(latent)
    assert history.bits.shape == (4, sum(rows * columns for rows, columns in spec.scales), spec.bits)
    assert tokenizer.decode(history.total).shape == frames.shape
    assert tokenizer.features(frames).shape == (4, spec.feature_channels, *spec.grid)


def test_the_audio_sizes_are_those_of_what_comes_out() -> None:
    codec: AudioCodec = tokenizers().audio
    spec = codec.spec
    seconds = 1.3
    (codes,) = codec.encode([np.random.default_rng(0).normal(size=round(seconds * spec.sample_rate)).astype(np.float32)])
    assert codes.shape == (math.ceil(seconds * spec.frame_rate), spec.levels)
    assert codes.min() >= 0
    assert codes.max() < spec.codebook
    with pytest.raises(ValueError, match="expected codes"):
        codec.decode([torch.full_like(codes, spec.codebook)])
    (wave,) = codec.decode([codes])
    assert len(wave) == len(codes) * spec.sample_rate / spec.frame_rate


def test_the_network_is_sized_by_them() -> None:
    spec, vision, audio = tokenizer_spec(tokenizers()), tokenizers().vision.spec, tokenizers().audio.spec
    assert (spec.bits, spec.scales, spec.grid, spec.features) == (
        vision.bits,
        vision.scales,
        vision.grid,
        vision.feature_channels,
    )
    assert (spec.levels, spec.codes, spec.vocabulary) == (audio.levels, audio.codebook, tokenizers().text.vocab_size)
    assert spec.patch * spec.grid[0] == spec.patch * spec.grid[1] == vision.size[0]


def test_a_tokenizer_without_an_audio_method_is_none() -> None:
    """The check by isinstance sees what is missing."""
    assert not isinstance(type("Half", (), {"spec": AudioTokenizer.spec, "encode": AudioTokenizer.encode})(), AudioCodec)
