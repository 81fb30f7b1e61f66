"""Orders of rollouts: what each trains, in which order, and what it does to the data."""

import numpy as np
import pytest

from ernest.rl.buffer import POLICIES, RolloutBuffer
from ernest.rl.simulation import log_normal_lengths, play


def figure_5(number: int) -> int:
    """Sixteen prompts and two workers; prompt 11 is very long (ERNIE 5.0 Fig. 5)."""
    return 30 if number == 11 else 4


def test_the_example_of_the_report():
    first = {order: play(order, figure_5, 1, 16, 2, 2).trained[0] for order in POLICIES}
    assert first["U-RB"] == first["in order"] == first["synchronous"] == tuple(range(16))
    assert set(first["finish order"]) == {*range(11), *range(12, 17)}


@pytest.mark.parametrize("order", POLICIES)
def test_no_prompt_is_trained_twice_and_updates_are_full(order):
    played = play(order, log_normal_lengths(3), 40, 8, 3, 12)
    numbers = [number for chosen in played.trained for number in chosen]
    assert len(numbers) == len(set(numbers)) == 320
    assert all(len(chosen) == 8 for chosen in played.trained)


@pytest.mark.parametrize("order", ["synchronous", "in order", "U-RB"])
@pytest.mark.parametrize("seed", range(3))
def test_orders_that_keep_it_train_every_prompt_at_its_turn(order, seed):
    played = play(order, log_normal_lengths(seed), 50, 16, 3, 24)
    assert [number for chosen in played.trained for number in chosen] == list(range(800))
    assert played.length_ratio == pytest.approx([1.0] * 50, abs=1e-9)
    assert played.share_trained == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_u_rb_keeps_workers_busy_and_data_young(seed):
    length = log_normal_lengths(seed)
    waiting, filled = play("synchronous", length, 50, 16, 1, 16), play("U-RB", length, 50, 16, 4, 16)
    assert filled.utilisation >= waiting.utilisation + 0.15
    assert filled.time < waiting.time
    assert filled.oldest <= 3


@pytest.mark.parametrize("seed", range(3))
def test_finish_order_begins_with_what_is_short(seed):
    """Its first updates are short by 5 % and more; what is dropped and filled up again stays so for good."""
    length = log_normal_lengths(seed)
    assert np.mean(play("finish order", length, 50, 32, 2, 48).length_ratio[:2]) <= 0.95
    dropped = play("drop and refill", length, 50, 32, 2, 48)
    assert dropped.share_trained < 0.9
    assert np.mean([length(n) for chosen in dropped.trained for n in chosen]) <= 0.9 * np.mean([length(n) for n in range(1600)])


def test_a_window_bounds_the_age():
    length = log_normal_lengths(0, spread=2.0)
    assert play("windowed", length, 60, 16, 3, 32).oldest <= 3
    assert play("finish order", length, 60, 16, 3, 32).oldest > 3


def test_cut_rollouts_go_on_or_begin_anew():
    length = log_normal_lengths(1)
    resumed, restarted = (play(order, length, 50, 16, 4, 24) for order in ("U-RB", "in order"))
    assert resumed.time < restarted.time
    assert resumed.trained == restarted.trained


def test_a_buffer_says_when_it_has_enough():
    buffer = RolloutBuffer("U-RB", 2, 2)
    assert buffer.fill() == [0, 1, 2, 3]
    assert not buffer.has_enough([2, 3, 1])
    assert buffer.has_enough([2, 0, 1])
    assert buffer.take([2, 0, 1]) == [0, 1]
    assert (buffer.open, buffer.ended) == ([3], [2])
    assert buffer.fill() == [3, 4, 5]
    buffer = RolloutBuffer("drop and refill", 2, 2)
    buffer.fill()
    assert buffer.take([3, 1]) == [3, 1]
    assert (buffer.open, buffer.dropped) == ([], 2)
    assert buffer.fill() == [4, 5, 6, 7]
