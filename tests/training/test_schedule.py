"""Warm-up, stable, decay, to the number (row 30)."""

from itertools import pairwise

import pytest

from ernest.config.tables import TrainingConfig
from ernest.training.schedule import schedule_values

CONFIG = TrainingConfig(
    steps=1000, learning_rate=2e-3, final_share=0.05, warmup=100, decay_share=0.4, bias_speed=1e-3, mtp_weight=0.3
)


def test_warm_up_is_linear_and_ends_at_the_peak():
    assert schedule_values(0, CONFIG).learning_rate == 2e-3 / 100
    assert schedule_values(49, CONFIG).learning_rate == pytest.approx(1e-3, rel=1e-12)
    assert schedule_values(99, CONFIG).learning_rate == 2e-3
    assert schedule_values(100, CONFIG).learning_rate == 2e-3


def test_the_border_between_stable_and_decay():
    before, after = schedule_values(599, CONFIG), schedule_values(600, CONFIG)
    assert (before.learning_rate, before.bias_speed, before.mtp_weight) == (2e-3, 1e-3, 0.3)
    assert after.bias_speed == pytest.approx(1e-4, rel=1e-12)
    assert after.mtp_weight == pytest.approx(0.1, rel=1e-12)
    assert 0.999 * 2e-3 < after.learning_rate < 2e-3


def test_the_middle_and_the_end_of_the_decay():
    assert schedule_values(799, CONFIG).learning_rate == pytest.approx(2e-3 * (0.05 + 0.95 / 2), rel=1e-12)
    assert schedule_values(999, CONFIG).learning_rate == pytest.approx(1e-4, rel=1e-12)


def test_the_rate_rises_then_stays_then_falls():
    told = [schedule_values(step, CONFIG).learning_rate for step in range(1000)]
    assert told[:100] == sorted(told[:100])
    assert set(told[99:600]) == {2e-3}
    assert all(a > b for a, b in pairwise(told[599:]))


@pytest.mark.parametrize("steps", [1, 2, 5, 17])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_short_runs_have_a_rate_at_every_step(steps, share):
    config = TrainingConfig(steps=steps, warmup=60, decay_share=share)
    told = [schedule_values(step, config).learning_rate for step in range(steps)]
    assert all(0 < rate <= config.learning_rate for rate in told)
    if round(steps * share):
        assert told[-1] == pytest.approx(config.learning_rate * config.final_share)
