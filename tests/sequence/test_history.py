"""What frames of made films see of earlier ones: the rule against a loop over positions, in rows of several documents."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.sequence.batch import Cells
from ernest.sequence.groups import CELL, ControlTokens, Layout, PatchTokens, ScaleTokens, TextTokens, lay_out
from ernest.sequence.history import frame_sight, hide_frames
from ernest.sequence.mask import allowed
from tests.references.sight import loses

CONTROL = ControlTokens(0, 1, 2, 3, 4, 5, 6, 7)
SIZES = {1: ((1, 1),), 2: ((1, 1), (2, 2)), 3: ((1, 1), (1, 2), (2, 3))}


def film(frames: int, scales: int) -> ScaleTokens:
    return ScaleTokens(frames, SIZES[scales], True)


def row_of(layouts: list[Layout], padding: int = 2) -> tuple[torch.Tensor, torch.Tensor, Cells]:
    """Document and group `[1, length]` of layouts one behind the other, and their cells, of which only the places count."""
    document = [n for n, layout in enumerate(layouts) for _ in range(len(layout))] + [-1] * padding
    group = np.concatenate([*(layout.group for layout in layouts), np.zeros(padding, np.int64)])
    source = np.concatenate([*(layout.source for layout in layouts), np.zeros(padding, np.int64)])
    index = torch.from_numpy(np.flatnonzero(source == CELL))
    return torch.tensor([document]), torch.from_numpy(group)[None], Cells(index, *[torch.zeros(0)] * 4)


def of_frames(cells: Cells, per_frame: int, hidden: list[bool] | None = None) -> Cells:
    flags = torch.zeros(0, dtype=torch.bool) if hidden is None else torch.tensor(hidden, dtype=torch.bool)
    return replace(cells, frame_index=cells.index[per_frame - 1 :: per_frame], hidden=flags)


FILMS = st.lists(st.lists(st.integers(1, 5), min_size=0, max_size=2), min_size=1, max_size=3)


@settings(deadline=None, max_examples=25)
@given(FILMS, st.integers(1, 3), st.integers(0, 3), st.booleans(), st.randoms(use_true_random=False))
def test_the_rule_is_the_loop(documents, scales, window, hides, random):
    """Texts, given pictures, and films of other documents and of the same one are always in view."""
    per_frame = sum(rows * columns for rows, columns in SIZES[scales])
    layouts, lost, flags = [], [], []
    for films in documents:
        segments = [(TextTokens((9, 8)), False), (PatchTokens(5, (1, 2), True), False)]
        for frames in films:
            segments += [(film(frames, scales), True), (TextTokens((9,)), True)]
        layouts.append(lay_out(segments, CONTROL))
        cells = np.flatnonzero(layouts[-1].source == CELL)
        starts = [int(cells[sum(films[:n]) * per_frame]) for n in range(len(films))]
        hidden = [[hides and n + 1 < frames and random.random() < 0.5 for n in range(frames)] for frames in films]
        flags += [flag for one in hidden for flag in one]
        lost.append(loses(list(zip(starts, films, strict=True)), len(layouts[-1]), per_frame, window, hidden))
    document, group, cells = row_of(layouts)
    sight = frame_sight(of_frames(cells, per_frame, flags if any(flags) else None), group, scales, window)
    wanted = allowed(document, group, document, group)
    start = 0
    for layout, gone in zip(layouts, lost, strict=True):
        wanted[0, start : start + len(layout), start : start + len(layout)] &= ~torch.from_numpy(gone)
        start += len(layout)
    assert (sight is None) == (not (window or any(flags)) or not any(map(sum, documents)))
    assert torch.equal(allowed(document, group, document, group, sight), wanted)
    assert wanted.any(-1).all()


def test_text_and_what_is_behind_the_film_see_all_of_it():
    layout = lay_out([(TextTokens((9,)), False), (film(6, 2), True), (TextTokens((9, 9)), True)], CONTROL)
    document, group, cells = row_of([layout], padding=0)
    mask = allowed(document, group, document, group, frame_sight(of_frames(cells, 5), group, 2, 2))[0]
    text = torch.from_numpy(layout.source != CELL)
    assert torch.equal(mask[text], torch.ones(len(layout), len(layout), dtype=torch.bool).tril()[text])
    assert mask[:, :2].all(0).tolist() == [True, False]  # the word, and its begin token, which nothing stands before
    last = cells.index[-2]  # of the last frame, number 5: it sees frames 3 and 4, and itself
    assert int(mask[last][cells.index].sum()) == 2 * 5 + 4
    asking = cells.index[3 * 5 + 4]  # SΣ of frame 3, which asks for frame 4: frames 2 and 3, of which it is one
    assert torch.equal(mask[asking][cells.index].nonzero()[:, 0], torch.arange(2 * 5, 4 * 5))


def test_a_hidden_frame_carries_nothing_on():
    """It stands beside the cells of no other frame, and its SΣ is blank; its own cells keep what they have."""
    frames, per_frame, bits = 3, 5, 4
    value = torch.arange(1.0, frames * per_frame * 2 * bits + 1).view(-1, 2 * bits)
    cells = Cells(torch.arange(15), value, torch.tensor([1, 1, 1, 1, 0] * 3), torch.tensor([4, 9, 14]), torch.ones(3, 7))
    changed = hide_frames(cells, torch.tensor([False, True, False]))
    wanted = value.clone().view(frames, per_frame, 2 * bits)
    wanted[1, 4] = 0.0
    wanted[2, :4, bits:] = 0.0
    assert torch.equal(changed.value.view_as(wanted), wanted)
    assert changed.frame.sum(1).tolist() == [7, 0, 7]
    assert torch.equal(cells.value, value)
