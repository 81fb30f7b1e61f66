"""Documents that several tests read."""

from pathlib import Path

import pytest


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
