"""Losses on held-out records, by what they are of."""

import numpy as np
import pytest

from ernest.config.tables import SequenceConfig
from ernest.results import held_out
from ernest.results.held_out import losses
from tests.results.small import TASKS, store_of
from tests.small import network, tokenizers


def test_held_out_losses_are_means_over_targets():
    model = network()
    found = losses(model, store_of(0, 2, 7), tokenizers(), ("text→image", "text→speech", "text"))
    scales = tokenizers().vision.quantiser.sizes
    cells = [height * width for height, width in scales]
    by_scale = [found[f"bits, text→image, scale {k + 1}"] for k in range(len(scales))]
    assert np.average(by_scale, weights=cells) == pytest.approx(found["bits, text→image"], rel=1e-5)
    corruption = SequenceConfig(bit_flip_rate=0.5)
    tasks = "text→image", "text→speech", "text"
    assert found != losses(model, store_of(0, 2, 7), tokenizers(), tasks, corruption=corruption)
    assert set(held_out.COUNTS) == set(TASKS)
