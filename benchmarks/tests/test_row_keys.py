"""The names of the rows stay, so that figures of two versions can be laid side by side: `row_keys.json` holds them."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import runner
from benchmarks.lcnet.parts import WING as LCNET
from benchmarks.phasefield.parts import WING as PHASEFIELD
from benchmarks.row_keys import KEYS, written
from ernest.device import supports_bf16

HERE = Path(__file__).parents[1]
WINGS = {"lcnet": LCNET, "phasefield": PHASEFIELD}
TRIED = (
    ("lcnet", "closeness"),
    ("lcnet", "training"),
    ("phasefield", "orders"),
    ("phasefield", "solve"),
    ("phasefield", "pfhub"),
)
"""Quick parts of a few seconds; all of them: `python -m benchmarks.row_keys`."""


@pytest.fixture(autouse=True)
def no_hollow_modules() -> Iterator[None]:
    """What stands in for torchvision where timm is measured must not meet the tests after these."""
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def template(node: ast.expr) -> str | None:
    """A text with {} for what is put in; None for an expression of another kind."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def templates() -> set[str]:
    """Of all rows that the benchmarks can write, as the code has them: first arguments, and labels assigned before."""
    found = set()
    for path in sorted(HERE.rglob("*.py")):
        if "tests" in path.relative_to(HERE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Figure", "off") and node.args:
                found.add(template(node.args[0]))
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "label":
                found.add(template(node.value))
    return {one for one in found if one is not None}


def test_the_code_writes_the_rows_that_it_always_wrote() -> None:
    assert sorted(templates()) == KEYS["templates"]


@pytest.mark.parametrize(("wing", "part"), TRIED)
def test_a_quick_part_writes_its_rows_and_no_others(wing: str, part: str, tmp_path: Path) -> None:
    runner.main(WINGS[wing], ["--quick", "--part", part, "--folder", str(tmp_path)])
    rows = [row for row in KEYS["quick"][wing][part] if supports_bf16() or not row.endswith("ours, bf16")]
    assert written(tmp_path, wing) == {part: rows}
