"""Sizes and rates of media: any that are drawn work, or are refused with the number that would."""

import re
from dataclasses import replace

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from ernest.config.media import CLIP, FILE, LARGEST, USUAL, MediaSpec, read_media, to_json, written_differently
from ernest.config.recipe import load_recipe
from ernest.sequence import groups
from ernest.sequence.groups import CodeTokens, ControlTokens, PatchTokens, ScaleTokens, lay_out
from ernest.sequence.groups import TextTokens as Text

CONTROL = ControlTokens(*range(8))
FIELDS = {
    "height": st.integers(-40, 400),
    "width": st.integers(-40, 400),
    "frames": st.integers(-5, 60),
    "frame_rate": st.none() | st.floats(-10, 5000),
    "sample_rate": st.sampled_from([8000, 16000, 24000]) | st.integers(-100, 60_000),
    "longest_sound": st.floats(-5, 100),
    "longest_answer": st.floats(-5, 100),
    "longest_text": st.integers(-3, 200),
}


def specs() -> st.SearchStrategy[MediaSpec]:
    """Those that can be, and not the largest."""
    side = st.integers(1, 12).map(lambda n: 8 * n)
    return st.builds(
        MediaSpec, side, side, st.integers(0, 8).map(lambda n: 1 + 4 * n), sample_rate=st.sampled_from([8000, 16000, 24000])
    )


@drawn(st.fixed_dictionaries(FIELDS))
@settings(max_examples=300, deadline=None)
def test_what_cannot_be_is_refused_with_a_number_that_can(values: dict) -> None:
    """Field by field, the number that a refusal names is taken until none is left."""
    for _ in range(len(values) + 1):
        try:
            spec = MediaSpec(**values)
        except ValueError as error:
            found = re.fullmatch(r"media\.(\w+) = \S+: expected .*; the nearest is (\S+)", str(error))
            if not found:
                raise
            kind = type(values[found[1]])
            assert values[found[1]] != kind(float(found[2]))
            values = values | {found[1]: kind(float(found[2]))}
        else:
            assert spec.scales[0] == (1, 1)
            assert spec.scales[-1] == (spec.height // 8, spec.width // 8)
            return
    raise AssertionError(values)


@drawn(specs(), st.integers(1, 33), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_positions_are_those_of_the_layout(spec: MediaSpec, frames: int, codes: int) -> None:
    def length(tokens, is_made: bool) -> int:
        return len(lay_out([(Text((9,)), not is_made), (tokens, is_made)], CONTROL)) - 1 - (not is_made)

    video = frames > 1
    assert length(ScaleTokens(frames, spec.scales, video), True) == spec.made_positions(frames)
    assert length(PatchTokens(frames, spec.merged_grid, video), False) == spec.given_positions(frames)
    assert length(CodeTokens(codes), True) == spec.sound_positions(codes / 12.5)
    assert spec.cells == sum(rows * columns for rows, columns in spec.scales)


def test_scales_double_and_are_those_of_the_demo() -> None:
    assert USUAL.scales == ((1, 1), (2, 2), (4, 4))
    assert MediaSpec(64, 64).scales == ((1, 1), (2, 2), (4, 4), (8, 8))
    assert MediaSpec(96, 96).scales == ((1, 1), (2, 2), (3, 3), (6, 6), (12, 12))
    assert MediaSpec(32, 64).scales == ((1, 1), (1, 2), (2, 4), (4, 8))
    assert [MediaSpec(side, side).cells for side in (32, 64, 96)] == [21, 85, 194]
    assert MediaSpec(LARGEST, LARGEST).cells == 1365


def test_clips_are_as_long_in_the_sequence_as_here() -> None:
    assert groups.CLIP == CLIP


def test_a_folder_says_for_what_it_was_made(tmp_path) -> None:
    assert read_media(tmp_path) == USUAL
    spec = MediaSpec(64, 96, 17, 12.5, 16000, 30.0)
    (tmp_path / FILE).write_text(to_json(spec))
    assert read_media(tmp_path) == spec
    (tmp_path / "media.json").write_text('{"height": 63}')
    with pytest.raises(
        ValueError, match=r"media.json: damaged: media.height = 63: expected a multiple of 8, from 8 to 256; the nearest is 64"
    ):
        read_media(tmp_path)


def test_only_what_changes_stored_media_is_a_difference() -> None:
    other = replace(USUAL, longest_sound=20.0, frames=17, longest_text=9)
    assert all(written_differently(USUAL, other, kind) is None for kind in ("image", "video", "audio"))
    paced = replace(USUAL, frame_rate=12.5)
    assert written_differently(USUAL, paced, "image") is None
    assert written_differently(USUAL, paced, "video") == (
        "32 x 32 pixels",
        "32 x 32 pixels at 12.5 frames a second",
        "media.height=32 media.width=32 media.frame_rate=null",
    )
    assert load_recipe(None, written_differently(USUAL, paced, "video")[2].split()).media == USUAL
    assert load_recipe(None, written_differently(paced, USUAL, "video")[2].split()).media == paced


def test_a_recipe_takes_them_and_says_what_follows() -> None:
    media = load_recipe(None, ["media.height=64", "media.width=96", "media.frames=17", "media.sample_rate=16000"]).media
    assert str(media) == (
        "pictures of 64 x 96 pixels in scales of 1x1, 1x2, 2x3, 4x6, 8x12 cells: 131 positions made, 99 given; videos of 17 "
        "frames spread over each video: 2195 made, 483 given; sounds at 16 kHz up to 8 s: 102 positions, 28 of the longest made"
    )
    with pytest.raises(ValueError, match=r"unknown field 'media.size'; the fields are"):
        load_recipe(None, ["media.size=64"])
