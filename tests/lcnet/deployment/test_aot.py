"""PyTorch compiled ahead of time: the same logits, and plain PyTorch with one warning where there is no compiler."""

import copy
import pickle  # noqa: TID251
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
    allowed = 1e-4 * max(1.0, expected.abs().max().item())
    assert (run(images) - expected).abs().max() <= allowed
    forms = (images.double(), images.contiguous(memory_format=torch.channels_last), torch.cat([images, images])[::2])
    forms += (torch.cat([images, images], 3)[..., ::2], images.transpose(2, 3).contiguous().transpose(2, 3))
    for form in forms:
        with torch.no_grad():
            wanted = network(form.float().contiguous())
        assert (run(form) - wanted).abs().max() <= allowed, "the compiled code believes that all images lie as the first one did"
    with ThreadPoolExecutor(4) as pool:
        assert all((found - expected).abs().max() <= allowed for found in pool.map(run, [images] * 40))
    refuses_other_sizes(run, 2)


def refuses_other_sizes(run: Callable[[torch.Tensor], torch.Tensor], count: int) -> None:
    for other in (torch.zeros(count, 3, 64, 95), torch.zeros(count + 1, 3, 64, 96)):
        with pytest.raises(
            ValueError, match=rf"images: compiled for \[{count}, 3, .*\] and nothing else, got \[\d, 3, 64, 9\d\]"
        ):
            run(other)
    for other, message in ((torch.zeros(count, 1, 64, 96), "expected .N, 3, H, W."), (torch.zeros(3).byte(), "got uint8")):
        with pytest.raises(ValueError, match=message):
            run(other)


def test_without_a_compiler_it_says_so_and_runs_plainly(monkeypatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    network = with_statistics(PPLCNet(small_images(10)))
    with pytest.warns(RuntimeWarning, match="not compiled ahead of time, plain PyTorch instead: .*compiler"):
        run = compile_ahead_of_time(network, 32, 32)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(run(images), network(images), atol=1e-4)
    refuses_other_sizes(run, 1)
    assert copy.deepcopy(run) is copy.copy(run) is run
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        pickle.dumps(run)
