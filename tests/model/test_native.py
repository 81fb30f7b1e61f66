"""The network with compiled kernels against the network written in PyTorch: losses and every gradient."""

import os
import subprocess
import sys

import pytest
import torch

from ernest.data.collate import collate
from ernest.device import threads
from ernest.lcnet.native import build
from ernest.model import native
from ernest.model.attention import Spans, attend_spans, visible
from ernest.model.experts_native import ExpertsAtOnce
from ernest.model.norm import RMSNorm
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


@pytest.mark.skipif(not native.usable(), reason="no C++ compiler")
@pytest.mark.parametrize("narrow", [False, True])
def test_several_threads_give_the_bits_of_one(narrow):
    """Of attention with norms of its heads, and of experts of which some get more rows than a chunk holds and some none."""
    found = {}
    for count in (1, 2, 3):
        with threads(count):
            found[count] = [*_attended(narrow), *_through_experts(narrow)]
    for count in (2, 3):
        for number, (one, several) in enumerate(zip(found[1], found[count], strict=True)):
            assert torch.equal(one, several), (count, number)


def _attended(narrow: bool) -> list[torch.Tensor]:
    """The result and the gradients of three rows of documents, of which one ends in padding."""
    generator = torch.Generator().manual_seed(0)
    document = torch.tensor([[0] * 40 + [1] * 37 + [2] * 19, [0] * 96, [0] * 5 + [1] * 50 + [-1] * 41])
    spans = visible(document, torch.arange(96).expand(3, -1) // 3, torch.ones(1))
    assert isinstance(spans, Spans)
    norms = RMSNorm(24, 1e-5), RMSNorm(24, 1e-5)
    qkv = torch.randn(3, 96, 8 * 24, generator=generator).to(torch.bfloat16 if narrow else torch.float32).requires_grad_()
    angle = torch.randn(3, 96, 12, generator=generator)
    out = attend_spans(qkv, spans, 4, 2, (angle.cos(), angle.sin()), norms)
    out.backward(torch.randn(out.shape, generator=generator).to(out.dtype))
    return [out.detach(), *(part.grad for part in (qkv, norms[0].weight, norms[1].weight) if part.grad is not None)]


def _through_experts(narrow: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    draw = lambda *sizes: torch.randn(*sizes, generator=generator).requires_grad_()
    x_TD, w_gate_up, w_down = draw(500, 64), draw(6, 64, 64), draw(6, 32, 64)
    gate_Tk = torch.rand(500, 2, generator=generator).requires_grad_()
    others = torch.randint(1, 5, (500, 1), generator=generator)  # the first expert takes all, the last none
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        y_TD = ExpertsAtOnce.apply(x_TD, gate_Tk, torch.cat([torch.zeros_like(others), others], 1), w_gate_up, w_down)
    y_TD.backward(torch.randn(500, 64, generator=generator))
    return [y_TD.detach(), *(part.grad for part in (x_TD, gate_Tk, w_gate_up, w_down) if part.grad is not None)]


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
