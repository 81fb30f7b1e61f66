"""Every test runs on one thread, draws the same examples each time and reaches for no network or display."""

import os
from pathlib import Path

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


@pytest.fixture(scope="session")
def examples_folder(tmp_path_factory) -> Path:
    """Examples of every direction on disk."""
    from ernest.data.store import ExampleStore
    from tests.small import documents

    folder = tmp_path_factory.mktemp("run") / "examples"
    for part in range(2):
        ExampleStore.write(folder / f"part-{part}", [*documents(2 * part), *documents(2 * part + 1)])
    return folder


@pytest.fixture(scope="session")
def store(examples_folder):
    from ernest.data.store import ExampleStore

    return ExampleStore(examples_folder)
