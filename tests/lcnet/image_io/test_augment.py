"""Bent pictures are still the pictures they were."""

import torch

from ernest.lcnet.image_io.augment import elastic_distort


def test_bend_moves_strokes_a_little_and_keeps_flat_pictures() -> None:
    images = torch.zeros(64, 3, 32, 32)
    images[:, :, 14:18, 6:26] = 0.9
    bent = elastic_distort(images, torch.Generator().manual_seed(0))
    assert bent.shape == images.shape
    assert 0 <= bent.min() <= bent.max() <= 1
    change = (bent - images).abs().mean((1, 2, 3))
    assert 0 < change.mean() < 0.5 * images.mean()
    assert change.std() > 0.2 * change.mean()
    flat = torch.full((4, 3, 32, 32), 0.3)
    assert torch.allclose(elastic_distort(flat, torch.Generator().manual_seed(1)), flat, atol=1e-5)
    assert torch.equal(bent, elastic_distort(images, torch.Generator().manual_seed(0)))
