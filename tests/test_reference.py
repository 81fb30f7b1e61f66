"""The reference in `docs/api` has an entry for every public name of its rooms, and every page of `docs` is in the menu."""

import importlib
import re
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {page.read_text().split("\n")[0].removeprefix("# "): page for page in sorted((ROOT / "docs/api").glob("*.md"))}
"""The pages by the room that their title names."""


def entries(page: Path) -> list[str]:
    return re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE)


def documented(entry: str) -> object:
    """What an entry shows. Where a module and a function share a path, mkdocstrings shows the module."""
    parent, _, name = entry.rpartition(".")
    room = importlib.import_module(parent)
    is_module = hasattr(room, "__path__") and find_spec(entry)
    return importlib.import_module(entry) if is_module else getattr(room, name)


@pytest.mark.parametrize("room", PAGES)
def test_every_public_name_has_its_entry_and_no_other(room):
    public = {name: getattr(importlib.import_module(room), name) for name in importlib.import_module(room).__all__}
    found = {entry.rpartition(".")[2]: documented(entry) for entry in entries(PAGES[room])}
    assert len(found) == len(entries(PAGES[room]))
    assert found.keys() == public.keys()
    assert [name for name in public if found[name] is not public[name]] == []


@pytest.mark.parametrize("room", PAGES)
def test_every_public_function_and_class_explains_itself(room):
    """Python writes a text for a dataclass that has none, which begins with its name and a bracket."""
    public = [getattr(importlib.import_module(room), name) for name in importlib.import_module(room).__all__]
    explained = [one for one in public if isinstance(one, type | FunctionType | ModuleType)]
    assert [one.__name__ for one in explained if not one.__doc__ or one.__doc__.startswith(f"{one.__name__}(")] == []


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in menu
