"""The network with compiled kernels against the network written in PyTorch: losses and every gradient."""

import os
import subprocess
import sys

import pytest
import torch

from ernest.data.collate import collate
from ernest.lcnet.native import build
from ernest.model import native
from ernest.model.submodel import SubModel, full, stack
from ernest.training.loss import LossBalancer, combine, loss_sums
from tests.small import CONFIG, documents, network, placed, tokenizers

SMALLER = SubModel((0, 3, 4, 5), ((0, 5, 6, 7),) * 6, 1)


def losses_and_gradients(narrow: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Of three packed rows, of which one runs a sub-model and one ends in padding."""
    model, every = network().train(), [placed(document) for document in documents()]
    batch = collate([every[:3], every[3:5], every[5:]], 290, tokenizers())
    submodels = stack([full(CONFIG), SMALLER, full(CONFIG)], CONFIG)
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        predictions = model(batch, submodels)
    sums, counts = loss_sums(predictions, batch)
    combine(sums, counts, LossBalancer({}), 0.3).backward()
    return sums.detach(), {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.skipif(not native.usable(), reason="no C++ compiler")
@pytest.mark.parametrize(("narrow", "near"), [(False, 1e-4), (True, 0.15)])
def test_losses_and_gradients_are_those_without_kernels(narrow, near, request):
    """In single precision to rounding. In bfloat16, whose roundings lie elsewhere, each gradient is as near to the plain one of
    single precision as its own rounding lets it."""
    found, gradients = losses_and_gradients(narrow)
    request.getfixturevalue("without_kernels")
    wanted, right = losses_and_gradients(False)
    torch.testing.assert_close(found, wanted, rtol=near / 5, atol=0.0)
    whole = {name: float(value.norm()) for name, value in right.items()}
    far = {name: float((gradients[name] - right[name]).norm()) / max(whole[name], 1e-2) for name in right}
    worst = max(far, key=far.__getitem__)
    assert far[worst] < near, worst


def test_without_a_compiler_nothing_is_missing(tmp_path):
    """A process that has neither a compiler nor a library of another's trains all the same."""
    code = (
        "from ernest.model import native; from tests.model.test_native import losses_and_gradients as run; "
        "assert not native.usable(); assert run(False)[0].isfinite().all()"
    )
    environment = os.environ | {"CXX": str(tmp_path / "none"), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_what_is_built_ahead_is_what_will_be_looked_for(tmp_path, monkeypatch):
    """`ernest build` writes the libraries that training and decoding ask for: those of the same sources and flags."""
    monkeypatch.setattr(build, "compiler", lambda: [sys.executable])
    monkeypatch.setattr(build, "compiled", lambda command, options, source: repr((options, source)).encode())
    asked = build.flags(build.available()[0])
    built = {purpose: path for path, purpose, _ in native.prebuild(directory=tmp_path)}
    assert list(built) == [f"{build.available()[0]} {name}" for name in native.SOURCES]
    for path, source in zip(built.values(), map(str, native.SOURCES.values()), strict=True):
        assert path.parent == tmp_path
        assert path.name.startswith(build._stem(asked, source))
        assert path.read_bytes() == repr((asked, source)).encode()
    everywhere = [one for one, _, _ in native.prebuild(everywhere=True, directory=tmp_path)]
    assert set(built.values()) <= set(everywhere) or build.features() >= {"amx_tile", "fast_bf16"}
    assert len(set(everywhere)) == len(everywhere) > 1
