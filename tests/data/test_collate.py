"""Batches: targets and weights to the number (rows 17 and 19), flips of the history, and where contents go (row 22)."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from ernest.config.tables import SequenceConfig
from ernest.data.collate import ScaleRows, collate, scale_rows, scale_weights
from ernest.data.corruption import draw_flips
from ernest.data.examples import EncodedSegment, Example
from ernest.tokenizers.bitwise_quantiser import MultiScaleBits
from tests.references.scales import scale_inputs
from tests.small import BITS, CODES, LEVELS, Maker, documents, placed, tokenizers

SIZES = ((1, 1), (2, 2), (4, 4))


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


# ---------------------------------------------------------------------------------------------- scales


def test_weights_of_the_specification():
    """Scales of side 1, 2, 3, 4, 6, 8: the shares become .042 .083 .125 .167 .250 .333."""
    sides = (1, 2, 3, 4, 6, 8)
    sizes = tuple((side, side) for side in sides)
    weight = scale_weights(sizes)
    shares = torch.stack([part.sum() for part in weight.split([h * w for h, w in sizes])])
    torch.testing.assert_close(shares, torch.tensor(sides) / sum(sides))
    torch.testing.assert_close(weight.sum(), torch.tensor(1.0))
    assert [round(float(share), 3) for share in shares] == [0.042, 0.083, 0.125, 0.167, 0.25, 0.333]
    assert all((part == part[0]).all() for part in weight.split([h * w for h, w in sizes]))


def rows_of(segment: EncodedSegment, bit_flip_rate: float = 0.0, seed: int = 0) -> ScaleRows:
    """Of one segment, corrupted by the draws of a seed."""
    quantiser, generator = tokenizers().vision.quantiser, torch.Generator().manual_seed(seed)
    flips = (
        draw_flips(quantiser, len(segment.data), SequenceConfig(bit_flip_rate=bit_flip_rate), generator)
        if bit_flip_rate
        else None
    )
    return scale_rows([segment.data], quantiser, flips)


@pytest.mark.parametrize("frames", [1, 3])
def test_rows_of_a_picture_are_those_of_the_loops(frames):
    segment = Maker(np.random.default_rng(0)).latent(frames)
    rows = rows_of(segment)
    bits = tokenizers().vision.quantiser.history(torch.from_numpy(segment.data).float()).bits
    expected = scale_inputs(tokenizers().vision.quantiser, bits)
    torch.testing.assert_close(rows.value, expected.value)
    torch.testing.assert_close(rows.frame, expected.frame)
    assert torch.equal(rows.scale, expected.scale)
    assert torch.equal(rows.bits, expected.bits)


def test_no_flips_are_teacher_forcing():
    segment = Maker(np.random.default_rng(0)).latent(3)
    quantiser, latent = tokenizers().vision.quantiser, torch.from_numpy(segment.data).float()
    none = quantiser.draw_flips(torch.zeros(3, 3), torch.Generator())
    assert same(quantiser.history(latent, none), quantiser.history(latent))


def test_segments_together_are_segments_alone():
    """The rows of all made segments of a batch are, bit for bit, those that each has by itself; flips are drawn one scale after
    the other, segment by segment."""
    make, quantiser = Maker(np.random.default_rng(0)), MultiScaleBits(BITS, SIZES)
    for convolution in quantiser.refine:  # which an untrained one leaves at 0
        torch.nn.init.normal_(convolution.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    segments = [make.latent(frames).data for frames in (1, 9, 1, 3, 9, 9, 2)]
    generator, drawn = (torch.Generator().manual_seed(5) for _ in range(2))
    flips = [draw_flips(quantiser, len(segment), SequenceConfig(bit_flip_rate=0.4), generator) for segment in segments]
    for segment, flipped in zip(segments, flips, strict=True):
        rates = torch.rand(len(segment), len(SIZES), generator=drawn) * 0.4
        rates[-1, -1] = 0.0
        draws = [torch.rand(len(segment), height * width, BITS, generator=drawn) for height, width in SIZES]
        assert torch.equal(flipped, torch.cat([draws[k] < rates[:, k, None, None] for k in range(len(SIZES))], 1))
    together = scale_rows(segments, quantiser, torch.cat(flips))
    alone = [scale_rows([segment], quantiser, flipped) for segment, flipped in zip(segments, flips, strict=True)]
    for field in fields(ScaleRows):
        assert torch.equal(getattr(together, field.name), torch.cat([getattr(rows, field.name) for rows in alone])), field.name


def test_flips_touch_the_history_and_labels_mend_it():
    """Inputs carry flipped bits; the labels of a scale are the true bits of what is left over below them."""
    segment = Maker(np.random.default_rng(0)).latent(4)
    latent = torch.from_numpy(segment.data).float()
    quantiser = tokenizers().vision.quantiser
    clean = rows_of(segment)
    rows = rows_of(segment, 1.0)
    assert not torch.equal(rows.value, clean.value)
    bits, cells = rows.bits.view(4, 21, BITS), 21
    # Scale 1 of every frame codes the latent itself: nothing comes before it.
    assert torch.equal(bits[:, 0], clean.bits.view(4, 21, BITS)[:, 0])
    value = rows.value.view(4, cells, 2 * BITS)
    for frame in range(4):
        for k, start, stop in ((1, 0, 4), (2, 4, 20)):
            so_far = value[frame, start:stop, :BITS].T.reshape(1, BITS, *SIZES[k])
            left = quantiser.down(latent[frame : frame + 1], k) - so_far
            assert torch.equal(bits[frame, 1 + start : 1 + stop], (left > 0).float().flatten(2)[0].T)
    # What stands beside them is the frame before, as it was corrupted.
    whole = rows.frame.view(4, BITS, 4, 4)
    torch.testing.assert_close(value[1:, 4:20, BITS:], whole[:-1].flatten(2).transpose(1, 2))
    assert not value[0, :20, BITS:].any()


def test_the_last_scale_of_the_last_frame_is_never_flipped():
    segment = Maker(np.random.default_rng(1)).latent(3)
    quantiser = tokenizers().vision.quantiser
    others = 0
    for seed in range(20):
        rows = rows_of(segment, 1.0, seed)
        value, whole = rows.value.view(3, 21, 2 * BITS), rows.frame.view(3, BITS, 4, 4)
        bits = rows.bits.view(3, 21, BITS)
        for frame in range(3):
            before_last = value[frame, 4:20, :BITS].T.reshape(1, BITS, 4, 4)
            finished = before_last + quantiser.lookup(bits[frame : frame + 1, 5:] > 0, 2)
            unflipped = torch.allclose(finished[0], whole[frame], atol=1e-5)
            if frame == 2:
                assert unflipped
            others += frame < 2 and not unflipped
    assert others >= 30


def test_flip_rates_reach_up_to_the_setting_and_no_further():
    """The share of flipped bits of scale 1, over many draws of U(0, 0.4), is 0.2 on average and differs from frame to frame."""
    segment = Maker(np.random.default_rng(2)).latent(200)
    quantiser = tokenizers().vision.quantiser
    rows = rows_of(segment, 0.4)
    first = rows.bits.view(200, 21, BITS)[:, :1] > 0
    entered = rows.value.view(200, 21, 2 * BITS)[:, 0:1, :BITS]
    candidates = quantiser.down(quantiser.lookup(first, 0), 1).flatten(2).transpose(1, 2)[:, :1]
    wrong = (candidates - entered).abs().amax(dim=(1, 2)) > 1e-4
    assert 0.5 < wrong.float().mean() < 0.95  # of 8 bits, one at least is flipped in most frames
    tiny = rows_of(segment, 1e-9)
    assert torch.equal(tiny.bits, rows_of(segment).bits)


def test_cells_of_a_batch_have_their_weights():
    laid = [placed(d) for d in documents() if d.task in ("text→image", "text→video")]
    batch = collate([laid], 130, tokenizers())
    weight, scale = batch.cell_targets.weight, batch.cell_targets.scale
    torch.testing.assert_close(weight.sum(), torch.tensor(4.0))  # a picture and three frames
    shares = torch.stack([weight[scale == k].sum() for k in range(3)]) / 4
    torch.testing.assert_close(shares, torch.tensor([1.0, 2.0, 4.0]) / 7)
    at = batch.cell_targets.index
    assert len(set(at.tolist())) == len(at) == 4 * 21


def test_given_latents_are_inputs_without_targets():
    make = Maker(np.random.default_rng(0))
    document = Example((replace(make.latent(), made=False), make.text(True)), "")
    batch = collate([[placed(document)]], 60, tokenizers())
    assert len(batch.cells.index) == 21
    assert not len(batch.cell_targets.index)
    assert (batch.token_target >= 0).sum() == len(placed(document).layout) - 22


# ---------------------------------------------------------------------------------------------- collation


def test_codes_and_their_targets():
    make = Maker(np.random.default_rng(0))
    given, made = make.codes(False, 3), make.codes(True, 2)
    batch = collate([[placed(Example((given, make.text(True, "a"), made), ""))]], 30, tokenizers())
    end = np.full((1, LEVELS), CODES)
    np.testing.assert_array_equal(batch.codes.value, np.concatenate([given.data, end, made.data, end]))
    np.testing.assert_array_equal(batch.code_targets.value, np.concatenate([made.data, end]))
    words = len(tokenizers().text.encode("a"))
    assert batch.codes.index.tolist() == [1, 2, 3, 4, 6 + words, 7 + words, 8 + words]
    assert batch.code_targets.index.tolist() == [5 + words, 6 + words, 7 + words]


def test_symbol_targets_belong_to_what_is_made():
    text = tokenizers().text
    make = Maker(np.random.default_rng(0))
    batch = collate([[placed(Example((make.text(False, "a red"), make.text(True, "seven")), ""))]], 20, tokenizers())
    question, answer = len(text.encode("a red")), text.encode("seven")
    assert batch.token_target[0, :question].tolist() == [-1] * question
    assert batch.token_target[0, question : question + len(answer) + 1].tolist() == [*answer, text.eos]
    assert (batch.token_target[0, question + len(answer) + 1 :] == -1).all()


def test_frames_of_a_clip_go_together_and_the_last_is_repeated():
    make = Maker(np.random.default_rng(0))
    video = make.pixels(8, True)
    batch = collate([[placed(Example((video, make.text(True)), ""))]], 90, tokenizers())
    frames = torch.from_numpy(video.data).movedim(-1, 1).float() / 255
    torch.testing.assert_close(batch.stills.pixels[:, 0], frames[:1])
    torch.testing.assert_close(batch.clips.pixels[0], frames[1:5])
    torch.testing.assert_close(batch.clips.pixels[1], frames[[5, 6, 7, 7]])
    torch.testing.assert_close(batch.clips.features[1, 2], tokenizers().vision.features(frames[7:8])[0])
    assert batch.stills.index.tolist() == list(range(1, 17))
    assert batch.clips.index.tolist() == list(range(17, 49))


@pytest.mark.parametrize("frames", [2, 4, 5, 6])
def test_the_last_clip_of_a_video_is_filled_up_with_its_last_frame(frames):
    """The first frame alone, then clips of four: as many as the layout has positions for, each with a place of its own."""
    make = Maker(np.random.default_rng(0))
    video, words = make.pixels(frames, True), make.text(True)
    batch = collate([[placed(Example((video, words), "video→text"))]], 120, tokenizers())
    clips = -(-(frames - 1) // 4)
    merged = len(batch.stills.index)
    assert batch.clips.pixels.shape[:2] == (clips, 4)
    assert len(batch.clips.index) == clips * merged
    assert len(set(batch.clips.index.tolist()) | set(batch.stills.index.tolist())) == (clips + 1) * merged
    expected = [*video.data[1:], *[video.data[-1]] * (4 * clips - frames + 1)]
    found = (batch.clips.pixels.flatten(0, 1).movedim(1, -1) * 255).round().byte().numpy()
    np.testing.assert_array_equal(found, np.stack(expected))


def test_only_other_hearings_are_misheard_and_only_in_training():
    """The sound itself, sounds that are made, and what is scored are as they were encoded; a row follows from its seed."""
    make = Maker(np.random.default_rng(6))
    given, hearing, said = make.codes(False, 30), make.codes(False, 30), make.codes(True, 30)
    given = replace(given, others=(hearing.data,))
    own, other = (placed(Example((given, said), "t").version((number, 0))) for number in (0, 1))

    def codes(packed, seed: int | None) -> torch.Tensor:
        drawn = (SequenceConfig(), [seed]) if seed is not None else (None, ())
        batch = collate([[packed]], len(packed.layout), tokenizers(), *drawn)
        assert torch.equal(batch.code_targets.value[:-1], torch.from_numpy(said.data).long())
        assert torch.equal(batch.codes.value[31:61], torch.from_numpy(said.data).long())
        return batch.codes.value[:30]

    as_encoded = lambda segment: torch.from_numpy(segment.data).long()
    for seed in (None, 1, 2):
        assert torch.equal(codes(own, seed), as_encoded(given))
    assert torch.equal(codes(other, None), as_encoded(hearing))
    first, again, second = (codes(other, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, as_encoded(hearing))
