"""One server for all tests that only ask it things; none of them without the extra `serve`."""

from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("fastapi") else ["test_*.py"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    from tests.serve.running import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("served") / "demo" / "model")


@pytest.fixture(scope="session")
def server(checkpoint):
    from tests.serve.running import running

    with running(checkpoint, "demo:layers=4,experts=4,top_k=1") as served:
        yield served
