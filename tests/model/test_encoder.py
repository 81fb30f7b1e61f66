"""The understanding path: shapes of the merger, and who is merged with whom (row 22)."""

from dataclasses import replace

import pytest
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.model.encoder import Encoder, PatchMerger
from ernest.sequence.batch import Patches
from tests.small import CONFIG, tokenizers

INTERFACE = tokenizer_spec(tokenizers())
ROWS, COLUMNS = INTERFACE.grid


def clips(count: int, frames: int, seed: int = 0) -> Patches:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, frames, 3, 32, 32, generator=generator)
    features = torch.randn(count, frames, INTERFACE.features, ROWS, COLUMNS, generator=generator)
    return Patches(torch.arange(count * 16), pixels, features)


@pytest.mark.parametrize("patches", [4, 16])
def test_two_paths_of_k_patches_become_one_token(patches):
    merger = PatchMerger(features=24, vit_width=16, width=64)
    attended = []
    merger.qkv.register_forward_pre_hook(lambda module, inputs: attended.append(inputs[0].shape))
    out = merger(torch.randn(50, patches, 24), torch.randn(50, patches, 16))
    assert attended == [(50, 2 * patches, 16)]
    assert out.shape == (50, 64)


@torch.inference_mode()
def test_a_token_hears_every_patch_of_both_paths_and_not_their_order():
    torch.manual_seed(0)
    merger = PatchMerger(features=24, vit_width=16, width=64)
    merger.gate.fill_(1.0)
    cnn, vit = torch.randn(1, 4, 24), torch.randn(1, 4, 16)
    base = merger(cnn, vit)
    for path in (0, 1):
        for patch in range(4):
            moved = [cnn.clone(), vit.clone()]
            moved[path][0, patch] += 1.0
            assert (merger(*moved) - base).abs().max() > 1e-3
    torch.testing.assert_close(merger(cnn.flip(1), vit.flip(1)), base)


def test_before_training_the_vit_is_not_heard_and_its_gate_learns():
    merger = PatchMerger(features=24, vit_width=16, width=64)
    cnn, vit = torch.randn(3, 4, 24), torch.randn(3, 4, 16, requires_grad=True)
    out = merger(cnn, vit)
    assert torch.equal(out, merger(cnn, torch.randn(3, 4, 16)))
    out.square().sum().backward()
    assert merger.gate.grad is not None
    assert merger.gate.grad.abs().min() > 0
    with torch.no_grad():
        merger.gate.add_(0.1)
    assert not torch.equal(out, merger(cnn, vit))


@pytest.mark.parametrize("frames", [1, 4])
def test_merged_patches_are_neighbours_in_space_and_time(frames):
    """Both paths carry the coordinates of their patches; every token gets one 2 x 2 square of each frame, in reading order."""
    encoder = Encoder(CONFIG, INTERFACE)
    seen = []
    encoder.merger.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    batch = clips(2, frames)
    for clip in range(2):
        for frame in range(frames):
            for row in range(ROWS):
                for column in range(COLUMNS):
                    batch.features[clip, frame, :4, row, column] = torch.tensor([clip, frame, row, column]).float()
    out = encoder(batch)
    assert out.shape == (2 * 16, CONFIG.width)
    cnn, vit = (path[:32] for path in seen[0])  # clips that only fill the batch up come last
    assert cnn.shape == (32, 4 * frames, INTERFACE.features)
    assert vit.shape == (32, 4 * frames, CONFIG.vit_width)
    for token in range(32):
        clip, row, column = token // 16, token % 16 // 4, token % 4
        found = {tuple(int(v) for v in patch[:4]) for patch in cnn[token]}
        square = [(2 * row + y, 2 * column + x) for y in (0, 1) for x in (0, 1)]
        assert found == {(clip, frame, y, x) for frame in range(frames) for y, x in square}


@torch.inference_mode()
@pytest.mark.parametrize("frames", [1, 4])
def test_pixels_meet_the_features_of_the_same_place(frames):
    """Without attention between patches, one patch's pixels and the features of its place reach one and the same token."""
    encoder = Encoder(replace(CONFIG, vit_layers=0), INTERFACE)
    encoder.merger.gate.fill_(1.0)
    base = clips(2, frames)
    out = encoder(base)
    for clip, frame, row, column in [(0, 0, 0, 0), (0, frames - 1, 3, 6), (1, frames - 1, 7, 7), (1, 0, 5, 2)]:
        token = 16 * clip + 4 * (row // 2) + column // 2
        pixels, features = base.pixels.clone(), base.features.clone()
        pixels[clip, frame, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1.0
        features[clip, frame, :, row, column] += 1.0
        for moved in (replace(base, pixels=pixels), replace(base, features=features)):
            change = (encoder(moved) - out).abs().amax(dim=1)
            assert change[token] > 1e-4
            change[token] = 0.0
            assert change.max() <= 1e-6


@torch.inference_mode()
def test_frames_of_a_clip_meet_only_in_the_merger():
    encoder = Encoder(CONFIG, INTERFACE)
    still = clips(1, 1)
    twice = Patches(still.index, still.pixels.repeat(1, 4, 1, 1, 1), still.features.repeat(1, 4, 1, 1, 1))
    torch.testing.assert_close(encoder(twice), encoder(still))  # four equal frames are one: only means are taken over them
