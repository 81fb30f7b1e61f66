"""Both ways through the network's training: by the compiled kernels, and written in PyTorch."""

import pytest

from ernest.model import native


@pytest.fixture
def without_kernels(monkeypatch) -> None:
    """As on a machine without a C++ compiler."""
    monkeypatch.setattr(native, "_library", lambda: None)


@pytest.fixture(params=["compiled", "plain"])
def either_way(request) -> str:
    """The test runs with the kernels, where there is a compiler, and without them."""
    if request.param == "plain":
        request.getfixturevalue("without_kernels")
    elif not native.usable():
        pytest.skip("no C++ compiler")
    return request.param
