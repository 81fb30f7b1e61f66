"""The window over frames and hidden frames in the network: kernels are the mask, and the mask is the loop over positions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.config.tables import ModelConfig, SequenceConfig
from ernest.data.collate import collate
from ernest.data.examples import Example
from ernest.model import native
from ernest.model.attention import Attention, Spans, as_bias, visible
from ernest.model.backbone import Routing
from ernest.model.submodel import draw, stack
from ernest.sequence.groups import CELL
from ernest.sequence.history import hide_frames
from ernest.sequence.mask import Sight, allowed
from ernest.sequence.positions import rotary_angles
from tests.references.sight import loses
from tests.small import CONFIG, LEVELS, OFTEN_SMALLER, Maker, network, placed, tokenizers

FRAMES, CELLS = 4, 21
HIDDEN = SequenceConfig(bit_flip_rate=0.0, frame_mask_rate=0.5)


def rows() -> list:
    make = Maker(np.random.default_rng(0))
    film = placed(Example((make.text(False, "a disk shrinking"), make.latent(FRAMES, True)), ""))
    picture = placed(Example((make.text(False, "a"), make.latent()), ""))
    return [[picture, film], [film]]


def batch(corruption: SequenceConfig | None = None):
    return collate(rows(), 130, tokenizers(), corruption, [3, 8])


def windowed(frames: int):
    """The network of test size with a window; its weights are those without one."""
    return network(config=replace(CONFIG, frame_window=frames))


@pytest.mark.skipif(not native.usable(), reason="no C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_lose_what_the_mask_loses_with_gradients(dtype):
    torch.manual_seed(0)
    length, config = 90, ModelConfig(width=64, heads=4, kv_heads=2)
    document = torch.tensor([[0] * 50 + [1] * 36 + [-1] * 4, [0] * 90])
    group = torch.stack([torch.cat([torch.arange(50) // 3, torch.arange(40)]), torch.arange(90) // 5])
    gone = group + torch.randint(1, 6, (2, length))
    sight = Sight(gone, gone + torch.randint(-2, 9, (2, length)))
    attention, x = Attention(config), torch.randn(2, length, config.width)
    gradient = torch.randn_like(x) * (document >= 0)[..., None]
    angles = rotary_angles(torch.rand(2, length, 3) * 50, config.head_dim, config.rope_base)
    spans, results = visible(document, group, torch.ones(1), sight), []
    assert isinstance(spans, Spans)
    for mask in (spans, as_bias(allowed(document, group, document, group, sight), dtype)):
        at = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = attention(at, angles, mask)
        grads = torch.autograd.grad(y, [at, *attention.parameters()], gradient.to(dtype))
        results.append((y.detach() * (document >= 0)[..., None], *grads))
    for found, wanted in zip(*results, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < (1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("corruption", [None, HIDDEN])
def test_the_network_sees_what_the_loop_says(corruption):
    """Bits of a film in a row alone, under sub-models too: the same trunk under a mask written out."""
    model, here = windowed(1), batch(corruption)
    layout = rows()[1][0].layout
    hidden = here.cells.hidden[-FRAMES:].tolist() if corruption else [False] * FRAMES
    assert any(hidden) == bool(corruption)
    start = int(np.flatnonzero(layout.source == CELL)[0])
    lost = torch.from_numpy(loses([(start, FRAMES)], len(layout), CELLS, 1, [hidden]))
    mask = allowed(here.document, here.group, here.document, here.group)
    mask[1, : len(layout), : len(layout)] &= ~lost
    submodels = stack([draw(CONFIG, LEVELS, OFTEN_SMALLER, np.random.default_rng(n)) for n in (1, 2)], CONFIG)
    assert any(running == (1,) for running in submodels.running)
    x = model.embed(here)
    hidden_states, _ = model.trunk(x, here.position, mask, Routing(submodels, here.valid), lambda layer, x: x)
    mine = here.cell_targets.index >= 130
    wanted = model.bit_head(hidden_states.flatten(0, 1)[here.cell_targets.index[mine]])
    found = model(here, submodels).bits[mine]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    without = network()(here, submodels).bits[mine]
    assert float((without - wanted).detach().abs().max()) > 1e-2


def test_a_window_over_all_frames_is_none():
    with torch.no_grad():
        found, wanted = windowed(FRAMES)(batch()).bits, network()(batch()).bits
        assert torch.equal(found, wanted)
        assert not torch.equal(windowed(FRAMES - 2)(batch()).bits, wanted)


def test_a_hidden_frame_is_out_of_reach():
    """What it shows changes nothing that is predicted for later frames, by any way; within it, it does."""
    make = Maker(np.random.default_rng(1))
    film = make.latent(3, True)
    other = replace(film, data=np.concatenate([film.data[:1], -film.data[1:2], film.data[2:]]))
    words, model, results = make.text(False, "a"), network(), []
    for one in (film, other):
        made = placed(Example((words, one), ""))
        here = collate([[made]], len(made.layout), tokenizers())
        here = replace(here, cells=hide_frames(here.cells, torch.tensor([False, True, False])))
        with torch.no_grad():
            results.append(model(here).bits.view(3, CELLS, -1))
    change = (results[0] - results[1]).abs().amax((1, 2))  # other experts' company changes the last digit
    assert change[[0, 2]].max() < 1e-5 < 1e-2 < change[1]


def test_frames_are_hidden_by_the_seed_of_their_row_and_flips_stay():
    """As often as asked, never the last of a film nor a picture; the same whoever makes the row; and bits flip as ever."""
    plain, hidden = batch(SequenceConfig()), batch(SequenceConfig(frame_mask_rate=0.5))
    again = collate(rows()[1:], 130, tokenizers(), SequenceConfig(frame_mask_rate=0.5), [8])
    assert torch.equal(hidden.cells.hidden[-FRAMES:], again.cells.hidden)
    assert not hidden.cells.hidden[[0, FRAMES, 2 * FRAMES]].any()
    assert torch.equal(plain.cell_targets.bits, hidden.cell_targets.bits)
    assert len(plain.cells.hidden) == 0
    make = Maker(np.random.default_rng(1))
    long = placed(Example((make.latent(401, True),), ""))
    drawn = collate([[long]], len(long.layout), tokenizers(), replace(HIDDEN, frame_mask_rate=0.2), [0]).cells.hidden
    assert 0.14 < float(drawn.float().mean()) < 0.26


def test_a_window_is_a_number_of_frames():
    with pytest.raises(ValueError, match=r"model.frame_window = -1 must be 0, for all frames"):
        ModelConfig(frame_window=-1)
