"""The layout of documents, against the rows drawn in the report."""

from fractions import Fraction

import numpy as np
import pytest

from ernest.sequence.groups import (
    CELL,
    CODE,
    PATCH,
    CodeTokens,
    ControlTokens,
    Layout,
    PatchTokens,
    ScaleTokens,
    TextTokens,
    centred,
    lay_out,
)

NAMES = ("EOS", "BOI", "EOI", "BOV", "EOV", "BOA", "SEP", "CONT", "T")
SYMBOLS = ControlTokens(*range(8))
TWO_SCALES = ((1, 1), (1, 2))
DEMO_SCALES = ((1, 1), (2, 2), (4, 4))


def words(count: int) -> TextTokens:
    return TextTokens((8,) * count)


def inputs(layout: Layout, cells: list[str]) -> list[str]:
    """What the positions carry, as Fig. 2 and 3 write it; codes are numbered from A1."""
    names = {PATCH: lambda content: "I", CELL: lambda content: cells[content], CODE: lambda content: f"A{content + 1}"}
    return [names.get(s, lambda c: NAMES[c])(c) for s, c in zip(layout.source, layout.content, strict=True)]


def targets(layout: Layout, cells: list[str]) -> list[str]:
    row = []
    for symbol, cell, code in zip(layout.token_target, layout.cell_target, layout.code_target, strict=True):
        parts = [NAMES[symbol]] if symbol >= 0 else []
        parts += [cells[cell]] if cell >= 0 else []
        parts += [f"A{code + 1}"] if code >= 0 else []
        row.append("+".join(parts) or "-")
    return row


def test_figure_2():
    segments = [
        (words(2), False),
        (PatchTokens(1, (1, 2), video=False), False),
        (words(2), False),
        (ScaleTokens(1, TWO_SCALES, video=False), True),
        (words(1), False),
        (ScaleTokens(2, TWO_SCALES, video=True), True),
        (words(1), False),
    ]
    layout = lay_out(segments, SYMBOLS)
    carried = ["s1", "s1", "SΣ", "f1s1", "f1s1", "f1Σ", "f2s1", "f2s1", "f2Σ"]
    asked = ["S1", "S2", "S2", "F1S1", "F1S2", "F1S2", "F2S1", "F2S2", "F2S2"]
    drawn = [
        ("T", "T"), ("T", "BOI"), ("BOI", "-"), ("I", "-"), ("I", "EOI"), ("EOI", "SEP"), ("SEP", "T"),
        ("T", "T"), ("T", "BOI"), ("BOI", "S1"), ("s1", "S2"), ("s1", "S2"), ("SΣ", "EOI"), ("EOI", "T"),
        ("T", "BOV"), ("BOV", "F1S1"), ("f1s1", "F1S2"), ("f1s1", "F1S2"), ("f1Σ", "CONT+F2S1"),
        ("f2s1", "F2S2"), ("f2s1", "F2S2"), ("f2Σ", "EOV"), ("EOV", "T"), ("T", "EOS"),
    ]  # fmt: skip
    assert list(zip(inputs(layout, carried), targets(layout, asked), strict=True)) == drawn
    made = [8, *range(9, 13), 14, *range(15, 22)]
    np.testing.assert_array_equal(layout.weight, np.isin(np.arange(24), made))
    blocks = [1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 2, 1, 2, 1, 1, 1]
    np.testing.assert_array_equal(layout.group, np.repeat(np.arange(20), blocks))


def test_figure_3():
    layout = lay_out([(words(2), False), (CodeTokens(3), True), (words(1), True)], SYMBOLS)
    drawn = [
        ("T", "T"), ("T", "BOA"), ("BOA", "A1"), ("A1", "A2"), ("A2", "A3"), ("A3", "A4"), ("A4", "T"), ("T", "EOS"),
    ]  # fmt: skip
    # A4 is the end of audio: one past the three frames.
    assert list(zip(inputs(layout, []), targets(layout, []), strict=True)) == drawn
    np.testing.assert_array_equal(layout.weight, [0, 1, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("frames", [1, 7, 26])
def test_audio_takes_a_position_per_frame_and_two_more(frames):
    assert len(lay_out([(CodeTokens(frames), True)], SYMBOLS)) == frames + 2


@pytest.mark.parametrize(
    "given",
    [PatchTokens(1, (4, 4), False), PatchTokens(9, (4, 4), True), CodeTokens(5), words(4)],
    ids=lambda t: type(t).__name__,
)
def test_what_is_given_carries_no_weight(given):
    layout = lay_out([(given, False), (words(2), True)], SYMBOLS)
    np.testing.assert_array_equal(layout.weight, np.arange(len(layout)) >= len(layout) - 3)


def test_text_between_text_and_at_the_beginning():
    apart = lay_out([(words(2), False), (words(1), True)], SYMBOLS)
    assert inputs(apart, []) == ["T", "T", "SEP", "T"]
    assert targets(apart, []) == ["T", "SEP", "T", "EOS"]
    np.testing.assert_array_equal(apart.weight, [0, 0, 1, 1])
    alone = lay_out([(words(2), True)], SYMBOLS)
    assert inputs(alone, []) == ["SEP", "T", "T"]
    np.testing.assert_array_equal(alone.weight, [1, 1, 1])


def test_an_open_video_predicts_no_end():
    layout = lay_out([(words(1), False), (ScaleTokens(1, TWO_SCALES, video=True, open=True), True)], SYMBOLS)
    assert targets(layout, ["F1S1", "F1S2", "F1S2"]) == ["BOV", "F1S1", "F1S2", "F1S2", "-"]
    assert layout.weight[-1] == 0


def test_every_cell_and_every_code_is_predicted_once():
    made = [(ScaleTokens(3, DEMO_SCALES, True), True), (CodeTokens(5), True), (ScaleTokens(1, DEMO_SCALES, False), True)]
    layout = lay_out(made, SYMBOLS)
    cells, codes = layout.cell_target, layout.code_target
    np.testing.assert_array_equal(cells[cells >= 0], np.arange(4 * 21))
    np.testing.assert_array_equal(codes[codes >= 0], np.arange(6))


def test_places_of_text_and_audio_are_the_index():
    layout = lay_out([(words(3), False), (CodeTokens(4), True), (words(2), True)], SYMBOLS)
    np.testing.assert_array_equal(layout.position, np.repeat(np.arange(len(layout))[:, None], 3, axis=1))


def test_places_of_vision():
    segments = [(words(5), False), (ScaleTokens(2, DEMO_SCALES, True), True)]
    layout = lay_out(segments, SYMBOLS)
    np.testing.assert_array_equal(layout.position[5], [5, 5, 5])  # the begin symbol stands at its index
    first, second = layout.position[6:26] - 5, layout.position[27:47] - 5
    assert set(first[:, 0]) == {0}
    assert set(second[:, 0]) == {1}
    np.testing.assert_array_equal(first[:4, 1:], [[0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5]])
    np.testing.assert_array_equal(first[4:, 1:], [[y, x] for y in range(4) for x in range(4)])
    np.testing.assert_array_equal(second[:, 1:], first[:, 1:])
    # SΣ asks for the next frame and stands in its centre; the symbol after all goes on by index.
    np.testing.assert_array_equal(layout.position[26] - 5, [1, 1.5, 1.5])
    np.testing.assert_array_equal(layout.position[-1], [len(layout) - 1] * 3)


@pytest.mark.parametrize("scales", [DEMO_SCALES, ((1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (8, 8)), ((1, 1), (1, 2), (3, 6))])
def test_scales_share_their_centre_exactly(scales):
    (height, width) = scales[-1]
    for scale in scales:
        centres = [
            (Fraction(y).limit_denominator(1000), Fraction(x).limit_denominator(1000)) for y, x in centred(scale, scales[-1])
        ]
        mean = tuple(sum(axis) / len(centres) for axis in zip(*centres, strict=True))
        assert mean == (Fraction(height - 1, 2), Fraction(width - 1, 2))


def test_centres_of_the_specification():
    assert [y for y, _ in centred((4, 1), (8, 1))] == [0.5, 2.5, 4.5, 6.5]
    assert [y for y, _ in centred((2, 1), (8, 1))] == [1.5, 5.5]
    assert centred((8, 8), (8, 8)) == [(y, x) for y in range(8) for x in range(8)]


def test_clips_of_four_frames_stand_one_after_another():
    layout = lay_out([(words(2), False), (PatchTokens(9, (2, 2), True), False), (words(1), True)], SYMBOLS)
    patches = layout.source == PATCH
    np.testing.assert_array_equal(layout.position[patches][:, 0] - 2, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(layout.position[patches][:4, 1:] - 2, [[0, 0], [0, 1], [1, 0], [1, 1]])
    assert PatchTokens(1, (2, 2), True).clips == 1
    assert PatchTokens(6, (2, 2), True).clips == 3


def test_a_first_scale_of_many_cells_is_refused():
    with pytest.raises(ValueError, match="first scale"):
        lay_out([(ScaleTokens(1, ((2, 2), (4, 4)), False), True)], SYMBOLS)
