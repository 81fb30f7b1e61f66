"""What is made ahead is what would have been made in turn."""

import threading

import pytest

from ernest.training.ahead import run_ahead


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("steps", [range(0), range(3, 4), range(2, 9)])
def test_everything_comes_once_and_in_order(ahead, steps):
    made = []
    with run_ahead(lambda step: made.append(step) or step * step, steps, ahead) as batches:
        assert list(batches) == [step * step for step in steps]
    assert made == list(steps)


def test_the_next_one_is_made_while_this_one_is_used():
    begun = threading.Event()

    def make(step: int) -> int:
        if step == 1:
            begun.set()
        return step

    with run_ahead(make, range(3), True) as batches:
        assert next(batches) == 0
        assert begun.wait(10)


@pytest.mark.parametrize("ahead", [True, False])
def test_what_fails_fails_where_its_step_comes_and_no_thread_stays(ahead):
    def make(step: int) -> int:
        if step == 2:
            raise OSError("damaged")
        return step

    before, seen = threading.active_count(), []
    with pytest.raises(OSError, match="damaged"), run_ahead(make, range(5), ahead) as batches:
        seen.extend(batches)
    assert threading.active_count() == before
    with run_ahead(make, range(2), ahead) as batches:
        seen.append(next(batches))
    assert seen == [0, 1, 0]
    assert threading.active_count() == before
