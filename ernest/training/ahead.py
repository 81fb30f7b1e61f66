"""Makes the batch of the next step while a step is taken, where a processor would be idle."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def run_ahead(make: Callable[[int], T], steps: range, ahead: bool) -> Iterator[Iterator[T]]:
    """`make` of each of the steps, in order; with `ahead`, a thread makes that of the next step while the caller takes one.

    What `make` raises is raised where its step comes. The thread is one of this process, and gone with the context.
    """
    if not ahead:
        yield map(make, steps)
        return
    with ThreadPoolExecutor(1, "ahead") as pool:
        yield _in_turn(pool, make, steps)


def _in_turn(pool: ThreadPoolExecutor, make: Callable[[int], T], steps: range) -> Iterator[T]:
    coming = [pool.submit(make, step) for step in steps[:1]]
    for following in (*steps[1:], None):
        if not coming:
            return
        made = coming.pop().result()
        if following is not None:
            coming.append(pool.submit(make, following))
        yield made
