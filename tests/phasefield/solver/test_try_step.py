"""What a rejected step leaves behind, and that a step does not grow on an error that is granted to round-off."""

import math
from dataclasses import replace

import pytest
import torch

from ernest.phasefield import CahnHilliard, Grid, solve
from ernest.phasefield.initial_conditions import spinodal_noise
from ernest.phasefield.solver.controller import Adaptive
from ernest.phasefield.solver.scheme_selection import COARSE, FULL, SPARSE
from ernest.phasefield.solver.state import RejectedStep, SolverState
from ernest.phasefield.solver.try_step import Judgement, after_rejection, rejection
from ernest.phasefield.stepping import State, StepStats


def test_coarse_sweeps_that_miss_are_left_alone_for_one_element_then_two_then_four():
    control = Adaptive(1e-6, 6, 0.1)
    current, waits = SolverState(State(0.0, torch.zeros(1), count=5), control, 0.0, 0.0, level=COARSE), []
    for _ in range(3):
        after = after_rejection(current, RejectedStep(control, 3, finer=True))
        assert after.level == FULL
        waits.append(after.retry - 5)
        current = replace(after, level=COARSE)
    assert waits == [1, 2, 4]
    assert after_rejection(replace(current, level=SPARSE), RejectedStep(control, 3, finer=True)).level == COARSE
    # Where sweeps on coarse grids do not settle an element, those of the other kind would not either.
    assert after_rejection(replace(current, level=SPARSE), RejectedStep(control, 3, finer=True, settled=False)).level == FULL
    assert after_rejection(replace(current, level=COARSE), RejectedStep(control, 3)).level == COARSE


@pytest.mark.parametrize(
    ("missed", "error", "saved", "finer"),
    [(0.6, 0.9, 0, None), (0.6, 1.5, 1, None), (1.1, 1.5, 1, True), (0.6, 1.5, 0, True), (0.4, 1.5, 0, False)],
)
def test_an_element_that_misses_much_is_kept_where_its_whole_error_is_allowed(missed, error, saved, finer):
    """Else it is tried again on finer grids, and where little is missed with a shorter length."""
    control = Adaptive(1e-6, 6, 0.1)
    current = SolverState(State(0.0, torch.zeros(1)), control, 0.0, 0.0, level=COARSE, saved=saved * 1e-7)
    found = Judgement(error * 1e-6, error * 1e-6, missed * 1e-6, 1.0, 0.1, 1.0, 1.0, None)
    rejected = rejection(current, 0.1, StepStats(3, (1e-3, 1e-4)), found, 1e-6)
    assert rejected is None if finer is None else rejected is not None and rejected.finer == finer


def test_a_rough_start_at_a_tight_tolerance_is_seldom_rejected():
    """In its first elements round-off is granted more than the tolerance allows, and an error that grows fast hides in that."""
    line = Grid((1024,), (2 * math.pi,))
    run = solve(CahnHilliard(0.01), line, spinodal_noise(line, 0.1, seed=1), 0.2, 1e-9, dense=False, progress=False)
    assert run.rejected <= 0.15 * len(run.steps)
