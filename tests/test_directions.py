"""Import directions that import-linter cannot see: of tests, and of parts of other packages. The rest is in pyproject.toml."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(path: Path) -> set[str]:
    """Full names of all that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    ("folder", "forbidden"), [("tests", "benchmarks"), ("ernest", "benchmarks"), ("ernest/model", "torch.distributed")]
)
def test_a_folder_imports_nothing_of_what_is_not_for_it(folder: str, forbidden: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in sorted(imported(file))
        if f"{name}.".startswith(f"{forbidden}.")
    ]
    assert not found, "\n".join(found)
