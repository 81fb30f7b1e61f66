"""What a training is scored by beside its model's answers."""

import numpy as np
import pytest

from ernest.evaluation.results import FULL
from ernest.evaluation.run import training_scores


def test_balance_and_speed_are_scores_of_the_training():
    metrics = [{"positions": 4000, "seconds": seconds} for seconds in (0.5, 0.25, 2.0, 0.0)]
    balance, speed = training_scores(np.full((2, 3, 8), 100), metrics)
    assert (balance.value, balance.bar, balance.ok) == (pytest.approx(1.0), 0.97, True)
    assert (speed.value, speed.bar, speed.ok) == (8000.0, 6000, True)
    assert {(score.system, score.group) for score in (balance, speed)} == {(FULL, "training")}


def test_the_least_balanced_layer_counts_over_all_batches():
    skewed = np.full((1, 2, 4), 10)
    skewed[0, 1] = [40, 0, 0, 0]
    (worst,) = training_scores(skewed, [])
    assert (worst.value, worst.ok) == (0.0, False)
    turns = np.array([[[4, 0]], [[0, 4]]])
    (even,) = training_scores(turns, [])
    assert even.value == pytest.approx(1.0)
