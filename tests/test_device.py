"""The device is asked for in one place; types and threads are what they were told to be."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ernest.device import (
    ask_large_pages,
    autocast,
    compute_dtype,
    count_processors,
    matmul_rate,
    module_command,
    supports_bf16,
    threads,
    usual_defaults,
)


def test_importing_the_ground_floor_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, ernest.device, ernest.storage, ernest.overrides; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("capabilities", "pays"), [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)]
)
def test_bf16_pays_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch, capabilities: dict, pays: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert supports_bf16() == supports_bf16("cpu") == pays
    assert supports_bf16("cuda")


@pytest.mark.parametrize(("limit", "pays"), [("AVX2", False), ("avx512_core", False), ("AVX512_CORE_AMX", True)])
def test_bf16_does_not_pay_where_the_products_are_told_to_do_without(
    monkeypatch: pytest.MonkeyPatch, limit: str, pays: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": True}, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert supports_bf16() == pays


def test_products_have_the_type_that_was_asked_for() -> None:
    x = torch.ones(2, 2)
    with autocast(x.device):
        assert (x @ x).dtype == compute_dtype(x) == torch.bfloat16
        with autocast(x.device, enabled=False):
            assert (x @ x).dtype == compute_dtype(x) == torch.float32
    assert compute_dtype(x.double()) == torch.float64


def test_threads_are_set_and_given_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    assert count_processors() >= 1


def test_the_rate_counts_two_operations_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert matmul_rate(torch.float32, size=16) == 2 * 16**3


PEAKS = """
import subprocess, sys
from ernest.device import peak_memory
held = bytearray(b"\\1" * (peak_memory() + (64 << 20)))
child = [sys.executable, "-c", "from ernest.device import peak_memory; print(peak_memory())"]
print(len(held), peak_memory(), int(subprocess.run(child, capture_output=True, check=True).stdout))
"""


def test_the_most_memory_is_never_less_than_what_was_held_and_nothing_of_the_parents() -> None:
    """In a process that has held little before: what it holds here is more than ever."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, check=True)
    held, peak, of_the_child = map(int, done.stdout.split())
    assert peak >= held
    assert of_the_child < held / 2


def test_tensors_on_large_pages_hold_what_they_held() -> None:
    tensors = [torch.arange(2_000_000.0), torch.arange(3_000_000, dtype=torch.int16)[100:], torch.ones(3)]
    before = [tensor.clone() for tensor in tensors]
    places = [tensor.data_ptr() for tensor in tensors]
    ask_large_pages(tensors)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, before, strict=True))
    assert [tensor.data_ptr() for tensor in tensors] == places


def test_a_process_finds_modules_as_its_parent_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the user's folder that is called like a module of Python is none of it, unless it is for the parent."""
    monkeypatch.chdir(tmp_path)
    assert module_command("ernest", "--version")[1:] == ["-P", "-m", "ernest", "--version"]
    monkeypatch.syspath_prepend(tmp_path)
    assert module_command("ernest")[1:] == ["-m", "ernest"]


def test_what_is_trained_is_float32_on_the_host_whatever_the_defaults() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.no_grad(), usual_defaults():
            layer = torch.nn.Linear(1, 1)
            assert (layer.weight.dtype, layer.weight.device.type) == (torch.float32, "cpu")
            assert layer(torch.ones(1)).requires_grad
        assert (torch.ones(1).dtype, torch.ones(1).device.type) == (torch.float64, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
