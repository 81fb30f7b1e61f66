import math

import pytest

from ernest.phasefield.solver.controller import AIM, MOST_GROWTH, Adaptive, Prescribed, contraction_of, error_rate

EPS = 2.2e-16


def test_error_is_what_further_sweeps_would_change_and_the_truncation_per_unit_time():
    assert error_rate((1e-3, 1e-4), 0.0, 0.5, 1.0, EPS) == pytest.approx(1e-4 * 0.1 / 0.5)
    assert error_rate((1e-3,), 1e-4, 0.5, 1.0, EPS) == pytest.approx(1e-3 * 0.2 / 0.5 + 1e-4)
    assert error_rate((), 1e-4, 0.5, 1.0, EPS) == pytest.approx(1e-4)
    # A diverging iteration counts its whole last change.
    assert error_rate((1e-4, 1e-3), 0.0, 0.5, 1.0, EPS) == pytest.approx(1e-3 / 0.5)
    assert math.isnan(error_rate((1e-3, math.nan), 0.0, 0.5, 1.0, EPS))


def test_round_off_is_no_error_however_short_the_step():
    assert error_rate((1e-9, 3e-15), 3e-7, 1e-9, 1.0, EPS) == 0
    assert contraction_of((1e-15, 3e-15), 1.0, EPS) == 0
    assert error_rate((3e-12, 3e-13), 0.0, 0.1, 1000.0, EPS) == 0


def test_steps_grow_and_shrink_with_the_order_of_the_scheme():
    steps = Adaptive(1e-6, 6, 0.1)
    assert steps.after_accepted(0.1, 1e-6 / 3**6, 0.1).tau == pytest.approx(0.1 * MOST_GROWTH)
    assert steps.after_accepted(0.1, AIM * 1e-6 / 1.6**6, 0.1).tau == pytest.approx(0.1 * 1.6)
    assert steps.after_accepted(0.1, 1e-6, 0.1).tau == 0.1
    # What earlier steps have left allows such an error once; the next one would be greater.
    assert steps.after_accepted(0.1, 1.2e-6, 0.1, coarse=True).tau == pytest.approx(0.1 * (AIM / 1.2) ** (1 / 6))
    assert steps.after_accepted(0.1, 1.2e-6, 0.1).tau == 0.1
    assert steps.after_accepted(0.1, 1e-6 / 2**6, 0.7).tau == 0.1
    little_more = AIM * 1e-6 / 1.15**6
    assert steps.after_accepted(0.1, little_more, 0.1, remaining=0.7).tau == 0.1
    assert steps.after_accepted(0.1, little_more, 0.1, remaining=0.8).tau == pytest.approx(0.115)  # one element less
    assert steps.after_rejected(0.1, AIM * 1e-6 * 2**6).tau == pytest.approx(0.1 * 0.5)
    assert steps.after_rejected(0.1, math.inf).tau == pytest.approx(0.03)
    assert steps.accepts(0.9e-6)
    assert not steps.accepts(1.1e-6)
    assert not steps.accepts(math.nan)
    # What earlier steps have left may be used up, by a step that errs by no more than twice as fast as it should.
    assert steps.accepts(1.5e-6, tau=0.1, saved=0.06e-6)
    assert not steps.accepts(1.5e-6, tau=0.1, saved=0.04e-6)
    assert not steps.accepts(2.1e-6, tau=0.1, saved=1.0)


@pytest.mark.parametrize("remaining", [0.05, 0.1, 0.104, 0.15, 0.18, 0.25])
def test_the_last_two_steps_are_stretched_or_halved(remaining):
    steps, lengths = Adaptive(1e-6, 6, 0.1), []
    while remaining > 1e-15:
        lengths.append(steps.propose(remaining))
        remaining -= lengths[-1]
    assert remaining == pytest.approx(0, abs=1e-15)
    assert max(lengths) <= 0.105
    assert min(lengths) >= min(0.05, lengths[0])


def test_a_step_shortened_for_the_end_does_not_let_the_next_one_grow():
    steps = Adaptive(1e-6, 6, 0.1)
    assert steps.after_accepted(0.05, 0.0, 0.1).tau == 0.1


def test_prescribed_lengths_fill_the_steps_after_failures():
    steps, time, lengths = Prescribed(1.0), 0.0, []
    for fails in (False, True, True, False, False, False, False, False, True, False, False):
        tau = steps.propose(5.0 - time)
        if fails:
            steps = steps.after_rejected(tau, math.inf)
        else:
            steps, time = steps.after_accepted(tau, 0.0, 0.0), time + tau
            lengths.append(tau)
    assert lengths == [1, 0.25, 0.25, 0.5, 1, 1, 0.5, 0.5]
    assert time == 5.0


def test_prescribed_lengths_begin_graded_and_end_on_the_end():
    steps, time, lengths = Prescribed(0.4, (0.1, 0.1, 0.2)), 0.0, []
    while 1.0 - time > 1e-9:
        lengths.append(steps.propose(1.0 - time))
        steps, time = steps.after_accepted(lengths[-1], 0.0, 0.0), time + lengths[-1]
    assert lengths == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.2])
    assert steps.after_rejected(0.4, math.inf).halvings == 1
    assert Prescribed(0.4, (0.1, 0.3)).after_rejected(0.1, math.inf).graded == (0.05, 0.05, 0.3)
