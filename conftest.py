"""Every test runs on one thread, draws the same examples each time and reaches for no network or display."""

import os

# These are read once, when the libraries are loaded, which is after this file.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from hypothesis import settings

# A busy machine must not fail a property by its deadline, nor must a run find what the next one cannot repeat.
settings.register_profile("ernest", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("ernest")


@pytest.fixture(autouse=True)
def the_same_numbers() -> None:
    """Random weights do not depend on which tests ran before."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that train something begin first, the demo before all, so that two processes of tests end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != "test_readme.py", item.path not in slow))
