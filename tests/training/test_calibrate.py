"""A calibration finds the numbers that made its trainings, and a plan with them forecasts another training."""

from dataclasses import replace

import numpy as np
import pytest

from ernest.config.recipe import load_recipe
from ernest.planner.check import Measured, compare
from ernest.planner.devices import Device
from ernest.planner.layout import Layout
from ernest.planner.plan import plan
from ernest.training.calibrate import REFERENCES, fit_memory, fit_positive, fit_time, measure_device, prepare, train_reference

MADE = Device(8e9, 1.2e11, 6e9, 5e8, keeps_shares=True, bf16=True, process=5e8, slack=1.7, overhead=2e-5)
BLANK = replace(MADE, rate=1.0, bandwidth=1.0, process=0.0, slack=1.0, overhead=0.0)


def as_planned(device: Device, size: int, rows: int) -> Measured:
    """A run that does exactly what is planned of it."""
    recipe = load_recipe(None, [f"size={size}", f"sequence.rows={rows}"])
    needs = plan(recipe, Layout(), device, 40)
    return Measured(recipe, 1, 40, needs.peak, needs.seconds)


def test_the_numbers_that_made_the_trainings_are_found():
    runs = [as_planned(MADE, size, rows) for size, rows in REFERENCES]
    plans = [plan(run.recipe, Layout(), BLANK, 40) for run in runs]
    assert fit_time(plans, runs) == pytest.approx((MADE.rate, MADE.bandwidth, MADE.overhead))
    assert fit_memory(plans, runs) == pytest.approx((MADE.process, MADE.slack))
    _, memory, seconds = compare(as_planned(MADE, 20, 8), MADE)
    assert (memory, seconds) == pytest.approx((0.0, 0.0))


def test_a_term_that_would_be_negative_is_none():
    shares = np.array([[1.0, 0.2], [1.0, 0.4], [1.0, 0.9]])
    constant, slope = fit_positive(shares / (1.0 - 0.1 * shares[:, 1:]))
    assert slope == 0.0
    assert constant == pytest.approx(0.95, abs=0.02)


@pytest.mark.long
def test_a_plan_forecasts_a_training(tmp_path):
    """Bars wider than what is aimed at: whatever else the machine does counts as an error of the plan."""
    device = measure_device(print)
    prepare(tmp_path)
    _, memory, seconds = compare(train_reference(tmp_path, 10, 6), device)
    assert abs(memory) < 0.3
    assert abs(seconds) < 0.5
