"""A calibration finds the numbers that made its trainings, and a plan with them forecasts another training."""

from dataclasses import replace

import numpy as np
import pytest

from ernest.config.recipe import load_recipe
from ernest.planner.check import Measured, compare
from ernest.planner.devices import Device
from ernest.planner.layout import Layout
from ernest.planner.plan import plan
from ernest.training.calibrate import REFERENCES, fit_device, fit_positive, measure_device, prepare, train_reference

MADE = Device(8e9, 1.2e11, 2e10, 5e8, keeps_shares=True, bf16=True, process=5e8, slack=1.7, fixed=0.05, odd=2.3, crowd=1.2)


def as_planned(device: Device, size: int, width: int, rows: int, processes: int, saves: bool = False) -> Measured:
    """A run that does exactly what is planned of it."""
    parallel = f"parallel.replicate={processes}", f"parallel.checkpoint_activations={str(saves).lower()}"
    recipe = load_recipe(None, [f"size={size}", f"model.expert_width={width}", f"sequence.rows={rows}", *parallel])
    needs = plan(recipe, Layout(processes, checkpoint_activations=saves), device, 40)
    return Measured(recipe, processes, 40, needs.peak, needs.seconds)


def test_the_numbers_that_made_the_trainings_are_found():
    found = fit_device([as_planned(MADE, *one) for one in REFERENCES], MADE.memory, MADE.bf16)
    assert vars(found) == pytest.approx(vars(MADE))
    for other in ((20, 160, 8, 1), (13, 104, 8, 2), (13, 104, 8, 4, True)):
        _, memory, seconds = compare(as_planned(MADE, *other), found)
        assert (memory, seconds) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_what_is_measured_a_twentieth_off_is_planned_hardly_further_off():
    """Trainings tell the terms apart: their errors are not many times as large in the plans of other networks."""
    rng, runs = np.random.default_rng(0), [as_planned(MADE, *one) for one in REFERENCES]
    others = [as_planned(MADE, *one) for one in ((8, 64, 8, 1, True), (13, 104, 8, 1), (8, 64, 8, 2), (13, 104, 8, 2, True))]
    for _ in range(12):
        off = rng.uniform(0.95, 1.05, len(runs))
        found = fit_device([replace(run, seconds=run.seconds * by) for run, by in zip(runs, off, strict=True)], 8e9, True)
        assert max(abs(compare(other, found)[2]) for other in others) < 0.1


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
    _, memory, seconds = compare(train_reference(tmp_path, 10, 80, 6, 1), device)
    assert abs(memory) < 0.3
    assert abs(seconds) < 0.5
