"""Keeps Python from looking for garbage while a short command starts."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage inside. Whenever some hundred objects were made Python looks for cycles among those that it has,
    which takes long while PyTorch is imported, and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
