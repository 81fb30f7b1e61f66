"""PyTorch compiled ahead of time: the same logits, and plain PyTorch with one warning where there is no compiler."""

import shutil

import pytest
import torch

from ernest.lcnet import Architecture, PPLCNet, compile_ahead_of_time, pplcnet_v2, small_images
from tests.lcnet.networks import with_statistics


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
@pytest.mark.parametrize("architecture", [small_images(10), pplcnet_v2(0.25, 1)], ids=["first", "second"])
def test_the_compiled_network_gives_the_same_logits(architecture: Architecture) -> None:
    network = with_statistics(PPLCNet(architecture))
    run = compile_ahead_of_time(network, 64, 96, batch=2)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
    assert (run(images) - expected).abs().max() <= 1e-4 * max(1.0, expected.abs().max().item())


def test_without_a_compiler_it_says_so_and_runs_plainly(monkeypatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    network = with_statistics(PPLCNet(small_images(10)))
    with pytest.warns(RuntimeWarning, match="not compiled ahead of time, plain PyTorch instead: .*compiler"):
        run = compile_ahead_of_time(network, 32, 32)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(run(images), network(images), atol=1e-4)
