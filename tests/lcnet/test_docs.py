"""What the pages say of `lcnet` in Python is there."""

import re
from pathlib import Path

import pytest

from ernest import lcnet

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_names_of_the_pages_exist(page: Path) -> None:
    blocks = re.findall(r"```(?:py|python)\n(.*?)```", page.read_text(), re.DOTALL)
    named = set(re.findall(r"(?<![\w.])lcnet\.([A-Za-z_]\w*)", "\n".join(blocks)))
    assert {name for name in named if not hasattr(lcnet, name)} == set()
