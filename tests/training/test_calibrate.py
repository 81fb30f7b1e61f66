"""The rates of a calibration are those that explain the steps, and a link is measured between two processes."""

import numpy as np
import pytest

from ernest.training.calibrate import fit_rates, reference, time_link, time_step


def test_the_rates_that_made_the_times_are_found():
    flops, moved = np.array([1e9, 5e9, 40e9]), np.array([4e8, 9e8, 2e9])
    seconds = flops / 3e10 + moved / 5e9
    assert fit_rates(np.stack([flops / seconds, moved / seconds], axis=1)) == pytest.approx((3e10, 5e9))


def test_where_one_explains_all_the_other_takes_no_time():
    flops, moved = np.array([1e9, 5e9, 40e9]), np.array([4e8, 9e8, 2e9])
    seconds = np.maximum(flops / 3e10 - moved / 1e11, 1e-3)
    rate, bandwidth = fit_rates(np.stack([flops / seconds, moved / seconds], axis=1))
    assert 2e10 < rate < 6e10
    assert (moved / bandwidth < 1e-6).all()


def test_a_step_of_a_reference_is_timed():
    seconds, document = time_step(reference(5), bf16=False)
    assert 0 < seconds < 60
    assert document == 33


@pytest.mark.long
def test_a_link_and_a_process_are_measured():
    link, process = time_link()
    assert 1e6 < link < 1e12
    assert 5e7 < process < 4e9
