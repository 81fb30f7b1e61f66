"""No code outside `ernest/device.py` names a device: what it computes on is given to it, so that it runs on any.

The files that still do are listed with how often. The list may only shrink: an allowance that is larger than the need fails
as well, so what one change has mended no later one can spend.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ernest"
ALLOWED: dict[str, int] = {}


def device_literals(source: str) -> list[int]:
    """The lines on which a string constant is "cpu" or "cuda", or begins with "cuda:"."""
    strings = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return sorted(node.lineno for node in strings if node.value in ("cpu", "cuda") or node.value.startswith("cuda:"))


def test_only_the_listed_files_name_a_device():
    """Both ways: a file above its allowance names one anew, a file below it has been mended and the list not."""
    found = {path.relative_to(ROOT).as_posix(): device_literals(path.read_text()) for path in ROOT.rglob("*.py")}
    found = {name: lines for name, lines in found.items() if lines and name != "device.py"}
    above = {f"{name}: lines {lines}" for name, lines in found.items() if len(lines) > ALLOWED.get(name, 0)}
    below = {f"{name}: {len(found.get(name, []))}" for name, count in ALLOWED.items() if len(found.get(name, [])) < count}
    assert not above, "take the device from ernest/device.py, or from a tensor at hand"
    assert not below, "lower the allowance to this"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('x.to("cpu")', [1]),
        ('with torch.autocast("cuda"):\n    y = f"cuda:{rank}"', [1, 2]),
        ('"""Runs on the cpu or on cuda."""\n# "cpu"\ncpu = x.cpu()', []),
    ],
)
def test_literals_are_found_in_code_and_not_in_prose(source, lines):
    assert device_literals(source) == lines
