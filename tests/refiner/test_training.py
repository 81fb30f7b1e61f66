"""The training of a refiner: the flow's target, what the networks are shown, and going on bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.refiner import training as refiner_training
from ernest.refiner.detail import join, means, split
from ernest.refiner.network import Doubling, contrast
from ernest.refiner.training import (
    DoublingBatch,
    PicturePairs,
    RefinerTraining,
    draw_batch,
    flow_loss,
    train_refiner,
)

RNG = np.random.default_rng(0)
LARGE = RNG.integers(0, 256, (6, 32, 64, 3), dtype=np.uint8)
REBUILT = RNG.integers(0, 256, (6, 8, 16, 3), dtype=np.uint8)
SMALL = RefinerTraining(steps=8, batch=4)


def test_the_loss_is_the_error_of_the_velocity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the straight path from noise to detail, followed by differences in time, number by number."""
    monkeypatch.setattr("ernest.fit.supports_bf16", lambda device: False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        doubling = Doubling(0.25, 8).requires_grad_(False)
        torch.nn.init.normal_(doubling.leave.weight, std=0.3)
        batch = DoublingBatch(
            torch.rand(3, 3, 8, 8), torch.randn(3, 9, 8, 8), torch.randn(3, 9, 8, 8), torch.tensor([0, 0.3, 0.7])
        )
    spread, total = doubling.spread(batch.small).expand(-1, 9, -1, -1).double(), 0.0
    for n, t in enumerate(batch.time.tolist()):
        path = lambda at, n=n: (1 - at) * batch.noise[n].double() + at * batch.detail[n].double() / spread[n]
        velocity = (path(t + 1e-4) - path(t - 1e-4)) / 2e-4
        end = doubling(path(t)[None].float(), torch.tensor([t]), batch.small[n : n + 1])[0].double()
        for found, z, true, size in zip(*(one.flatten() for one in (end, path(t), velocity, spread[n])), strict=True):
            total += float((size * ((found - z) / (1 - t) - true)) ** 2)
    assert flow_loss(doubling, batch).item() == pytest.approx(total / float(spread.square().sum()), rel=1e-3)


def test_detail_is_expected_where_there_is_contrast() -> None:
    """The range of a colour in 3 x 3 pixels, found pixel by pixel; of what is even, two levels."""
    small = torch.rand(2, 3, 5, 7)
    small[0, :, :, :3] = 0.5
    found = contrast(small)
    for n, row, column in np.ndindex(2, 5, 7):
        window = small[n, :, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        span = float((window.amax((1, 2)) - window.amin((1, 2))).max())
        assert found[n, 0, row, column].item() == pytest.approx(max(span, 2 / 255))
    assert found[0, 0, 2, 0].item() == pytest.approx(2 / 255)


def test_the_second_doubling_is_shown_what_the_first_may_come_to() -> None:
    """Whatever is done to detail, its means are those of the degraded picture; and targets are those of the true one."""
    rng = np.random.default_rng(3)
    first, second = draw_batch(PicturePairs(LARGE, REBUILT), 4, RefinerTraining(batch=32, rebuilt_share=1.0), rng)
    assert (first.small.shape, second.small.shape) == ((32, 3, 8, 16), (32, 3, 16, 16))
    assert {tuple(one.shape[1:]) for one in (first.detail, first.noise)} == {(9, 8, 16)}
    rebuilt = torch.from_numpy(REBUILT).movedim(-1, 1) / 255
    large = torch.from_numpy(LARGE).movedim(-1, 1) / 255
    middle, fine = split(large)
    for n in range(32):
        (number,) = [i for i in range(6) if torch.equal(first.small[n], rebuilt[i])]
        assert torch.allclose(first.detail[n], split(middle[number : number + 1])[1][0], atol=1e-6)
        # Its window is of the columns; where nothing had to be clipped, it joins the picture of before.
        columns = [c for c in range(17) if torch.allclose(second.detail[n], fine[number][:, :, c : c + 16], atol=1e-6)]
        assert len(columns) == 1
        plain = join(first.small[n : n + 1], first.detail[n : n + 1])[0, :, :, columns[0] : columns[0] + 16]
        assert (second.small[n] - plain.clamp(0, 1)).abs().mean() < 0.2
    assert 0 <= first.time.min() <= first.time.max() < 0.75


def test_small_pictures_are_made_worse_by_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    small = means(torch.from_numpy(LARGE).movedim(-1, 1) / 255, 4)
    worse = refiner_training.degraded(small, RefinerTraining(), np.random.default_rng(0))
    assert 0.005 < (worse - small).abs().mean() < 0.1
    assert torch.allclose(worse * 255, (worse * 255).round(), atol=1e-4)
    monkeypatch.setattr(refiner_training, "_shares", lambda rng, count: torch.full((count, 1, 1, 1), 0.5))
    plain = refiner_training.degraded(small, RefinerTraining(noise=0.0), np.random.default_rng(0))
    assert torch.allclose(plain, (small * 255).round() / 255)


def test_a_training_that_was_cut_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refiner_training, "KEEP_EVERY", 4)
    pairs, state = PicturePairs(LARGE, REBUILT), tmp_path / "state.safetensors"
    whole = train_refiner(pairs, (8, 16), SMALL, 3)

    def stop(step: int, steps: int, metrics: object) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_refiner(pairs, (8, 16), SMALL, 3, stop, state)
    torch.rand(5)
    gone_on = train_refiner(pairs, (8, 16), SMALL, 3, state=state)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, gone_on.state_dict()[name]), name
    other = train_refiner(pairs, (8, 16), SMALL, 4)
    assert not torch.equal(whole.state_dict()["doublings.0.enter.weight"], other.state_dict()["doublings.0.enter.weight"])


@pytest.mark.parametrize("shape", [(16, 16), (24, 48), (32, 16), (8, 16)])
def test_pictures_that_are_no_doublings_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match=rf"large pictures of \[{shape[0]}, {shape[1]}\] pixels are not 2, 4 or 8 times \[8, 16\]"
    ):
        train_refiner(PicturePairs(np.zeros((2, *shape, 3), np.uint8)), (8, 16), SMALL)
