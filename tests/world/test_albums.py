"""Albums: documents of alternating kinds, whose later parts follow from those before; they are trained on and scored."""

import numpy as np
import pytest

from ernest.config.recipe import load_recipe
from ernest.data.examples import outline
from ernest.data.layout import lay_out_example
from ernest.world.albums import ALBUMS, HEARD, READ_ALOUD, RECOLOURED, album
from ernest.world.images import caption, parse, picture, pictures, read_colour, read_place
from ernest.world.split import HELD_OUT
from ernest.world.world import TASKS, record, records
from tests.small import tokenizers


@pytest.mark.parametrize("task", ALBUMS)
def test_what_is_given_and_made_alternates_and_the_demo_does_not_learn_them(task):
    assert task not in TASKS
    made = [[segment.kind for segment in one.segments if segment.made] for one in records(task, 0, range(3))]
    assert [segment.made for segment in album(task, 0, 7).segments] == [False, True] * 2
    assert made == [{RECOLOURED: ["image", "image"], READ_ALOUD: ["text", "audio"], HEARD: ["text", "image"]}[task]] * 3


def test_a_picture_comes_again_in_another_colour():
    for index in (*range(5), HELD_OUT):
        one = album(RECOLOURED, 0, index)
        words, first, more, second = (segment.data for segment in one.segments)
        digit, colour, place = parse(words) or (-1, "", "")
        assert (first == picture(0, index).pixels).all()
        assert (digit, place) == (one.facts["digit"], one.facts["place"])
        assert more == f"now in {one.facts['colour']}" != f"now in {colour}"
        assert (read_colour(second), read_place(second)) == (one.facts["colour"], place)
        ink = [np.abs(shown.astype(int) - np.median(shown, axis=(0, 1))).sum(-1) > 60 for shown in (first, second)]
        assert (ink[0] == ink[1]).mean() > 0.95  # the same hand


def test_what_is_said_and_drawn_is_the_digit_that_was_seen_or_heard():
    for index in range(4):
        shown = picture(0, index)
        words = caption(shown.digit, shown.colour, shown.place)
        aloud, heard = album(READ_ALOUD, 0, index), album(HEARD, 0, index)
        assert aloud.segments[1].data == words
        assert aloud.facts["word"] == words.split()[2] == heard.segments[1].data
        assert aloud.segments[2].data.startswith(f"{aloud.facts['voice']} says")
        assert heard.segments[2].data == f"draw it in {shown.colour} {words.split(maxsplit=3)[3]}"
        assert (heard.segments[3].data == shown.pixels).all()


@pytest.mark.parametrize("task", ALBUMS)
def test_they_are_functions_of_seed_and_index_and_fit_a_row(task):
    one, other = record(3, 11, task), records(task, 3, [10, 11])[1]
    for segment, same in zip(one.segments, other.segments, strict=True):
        assert np.array_equal(segment.data, same.data)
    laid = lay_out_example(outline(one, tokenizers()), tokenizers(), tokenizers().text.encode)
    assert len(laid.layout) <= load_recipe().sequence.length


def test_a_colour_of_its_own_leaves_pictures_as_they_are():
    shown = pictures(0, [4, 5])
    assert (picture(0, 4, colour=shown[0].colour).pixels == shown[0].pixels).all()
    assert (picture(0, 5).pixels == shown[1].pixels).all()
