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
