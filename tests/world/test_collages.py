"""Collages: what their boxes and masks say is exactly what is to be seen."""

import numpy as np
import pytest

from ernest.world.collages import FORMS, KINDS, Collage, collage, forms
from ernest.world.handwriting import writings
from ernest.world.sizes import COLLAGE_SIZE
from ernest.world.split import HELD_OUT


@pytest.fixture(scope="module")
def many() -> list[Collage]:
    return [collage(0, index) for index in (*range(150), *range(HELD_OUT, HELD_OUT + 50))]


def test_every_kind_occurs_in_every_number(many: list[Collage]) -> None:
    assert {int(kind) for one in many for kind in one.kinds} == set(range(len(KINDS)))
    assert {len(one.kinds) for one in many} == {1, 2, 3, 4}


def test_forms_and_types(many: list[Collage]) -> None:
    for one in many:
        assert one.pixels.shape == (COLLAGE_SIZE, COLLAGE_SIZE, 3)
        assert one.mask.shape == (COLLAGE_SIZE, COLLAGE_SIZE)
        assert (one.pixels.dtype, one.mask.dtype, one.boxes.dtype) == (np.uint8, np.uint8, np.float32)
        assert one.kinds.dtype == np.int64
        assert one.boxes.shape == (len(one.kinds), 4)


def form(kind: int) -> int:
    name = KINDS[kind]
    return FORMS.index(name if name in FORMS else "digit")


def test_a_box_is_the_bounds_of_its_form_in_the_mask(many: list[Collage]) -> None:
    checked = 0
    for one in many:
        mine = [form(kind) for kind in one.kinds]
        assert forms(one.kinds).tolist() == mine
        for own, box in zip(mine, one.boxes, strict=True):
            if mine.count(own) == 1:
                rows, columns = np.nonzero(one.mask == own)
                assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                checked += 1
        assert set(np.unique(one.mask)) == {0, *mine}
    assert checked > 150


def test_pieces_lie_whole_on_the_canvas_and_are_large_enough_to_be_read(many: list[Collage]) -> None:
    for one in many:
        sides = one.boxes[:, 2:] - one.boxes[:, :2]
        assert sides.min() > 0.13 * COLLAGE_SIZE
        assert sides.max() < 0.53 * COLLAGE_SIZE
        assert one.boxes.min() >= 1
        assert one.boxes.max() <= COLLAGE_SIZE - 1


def test_masks_end_where_colours_change(many: list[Collage]) -> None:
    """Within a disc the colour is one; just outside it is another."""
    checked = 0
    for one in many:
        for kind, (x0, y0, x1, y1) in zip(one.kinds, one.boxes.astype(int), strict=True):
            inside = one.mask[y0:y1, x0:x1] == FORMS.index("disc")
            if KINDS[kind] != "disc" or len(one.kinds) > 1:
                continue
            pixels = one.pixels[y0:y1, x0:x1].astype(float)
            colour = np.median(pixels[inside], axis=0)
            far = np.abs(pixels - colour).max(-1)
            assert (far[inside] < 30).mean() > 0.9
            assert (far[~inside] > 30).all()
            checked += 1
    assert checked


def test_areas_are_those_of_geometry(many: list[Collage]) -> None:
    """Disc π r², triangle 3√3/4 r², square 2 r², with r from the box of a disc and from none of the others' turns."""
    checked = 0
    for one in many:
        if len(one.kinds) == 1 and KINDS[one.kinds[0]] == "disc":
            side = (one.boxes[0, 2:] - one.boxes[0, :2]).mean()
            assert (one.mask > 0).sum() == pytest.approx(np.pi / 4 * side**2, rel=0.03)
            checked += 1
    assert checked


def test_a_collage_depends_on_seed_index_and_size_alone() -> None:
    first, again = collage(3, 8), collage(3, 8)
    for field in ("pixels", "boxes", "kinds", "mask"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert (collage(4, 8).pixels != first.pixels).any()
    assert (collage(3, 9).pixels != first.pixels).any()
    assert collage(3, 8, size=96).pixels.shape == (96, 96, 3)


@pytest.mark.parametrize(("first", "held_out"), [(0, False), (HELD_OUT - 30, False), (HELD_OUT, True)])
def test_collages_use_the_handwriting_of_their_side(monkeypatch: pytest.MonkeyPatch, first: int, held_out: bool) -> None:
    asked = []

    def only(digit: int, wanted: bool) -> np.ndarray:
        asked.append(digit)
        assert wanted == held_out
        return writings(digit, wanted)

    monkeypatch.setattr("ernest.world.collages.writings", only)
    for index in range(first, first + 30):
        collage(0, index)
    assert asked


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="size: expected at least 64 pixels, got 32"):
        collage(0, 0, size=32)
    with pytest.raises(ValueError, match="record index"):
        collage(0, -1)
