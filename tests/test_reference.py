"""The reference in `docs/api` has a page for every room and an entry for every public name; every page is in the menu."""

import ast
import importlib
import re
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import FunctionType, ModuleType

import pytest

from tests.optional import is_missing

ROOT = Path(__file__).parents[1]
PAGES = {page.read_text().split("\n")[0].removeprefix("# "): page for page in sorted((ROOT / "docs/api").glob("*.md"))}
"""The pages by the room that their title names."""


def entries(page: Path) -> list[str]:
    """Those of a page; not what is made of an optional package that is missing."""
    return [entry for entry in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE) if can_be_imported(entry)]


def can_be_imported(entry: str) -> bool:
    try:
        importlib.import_module(entry.rpartition(".")[0])
    except ModuleNotFoundError as error:
        if is_missing(error):
            return False
    return True


def documented(entry: str) -> object:
    """What an entry shows. Where a module and a function share a path, mkdocstrings shows the module."""
    parent, _, name = entry.rpartition(".")
    room = importlib.import_module(parent)
    is_module = hasattr(room, "__path__") and find_spec(entry)
    return importlib.import_module(entry) if is_module else getattr(room, name)


def has_list(room: str) -> bool:
    return hasattr(importlib.import_module(room), "__all__")


def imports() -> set[str]:
    """What files of Ernest and examples use of other rooms, by its full dotted path."""
    found: set[str] = set()
    for path in [*(ROOT / "ernest").rglob("*.py"), *(ROOT / "examples").glob("*.py")]:
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts[:2])
        nodes = list(ast.walk(ast.parse(path.read_text())))
        named = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        attributes = {
            f"{named[node.value.id]}.{node.attr}"
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in named
        }
        found |= {name for name in {*named.values(), *attributes} if not f"{name}.".startswith(f"{own}.")}
    return found


IMPORTS = imports()
WITH_LIST = [room for room in PAGES if has_list(room)]
WITHOUT_LIST = [room for room in PAGES if not has_list(room)]


def test_every_room_has_its_page():
    """The command line explains itself by `--help`; the demo and the report are what it calls."""
    rooms = {f"ernest.{room.name}" for room in iter_modules([str(ROOT / "ernest")])}
    assert rooms - PAGES.keys() == {"ernest.__main__", "ernest.cli", "ernest.demo", "ernest.report"}


@pytest.mark.parametrize("room", WITH_LIST)
def test_every_public_name_has_its_entry_and_no_other(room):
    public = {name: getattr(importlib.import_module(room), name) for name in importlib.import_module(room).__all__}
    found = {entry.rpartition(".")[2]: documented(entry) for entry in entries(PAGES[room])}
    assert len(found) == len(entries(PAGES[room]))
    assert found.keys() == public.keys()
    assert [name for name in public if found[name] is not public[name]] == []


@pytest.mark.parametrize("room", WITHOUT_LIST)
def test_every_function_and_class_that_others_use_has_its_entry(room):
    """Importing such a room must stay light, so that its names are imported from its files."""
    listed = entries(PAGES[room])
    assert len(set(listed)) == len(listed)
    assert [entry for entry in listed if not f"{entry}.".startswith(f"{room}.")] == []
    code = {entry: documented(entry) for entry in listed}
    assert [entry for entry, one in code.items() if isinstance(one, type | FunctionType) and not is_code(entry)] == []
    used = {name for name in IMPORTS if name.startswith(f"{room}.") and is_code(name)}
    assert used - set(listed) == set()


def is_code(name: str) -> bool:
    """Whether a dotted path is that of a function or class, and where it is defined."""
    parent, _, last = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(parent), last)
    except (ImportError, AttributeError):
        return False
    return isinstance(found, type | FunctionType) and found.__module__ == parent


@pytest.mark.parametrize("room", PAGES)
def test_every_public_function_and_class_explains_itself(room):
    """Python writes a text for a dataclass that has none, which begins with its name and a bracket."""
    public = [documented(entry) for entry in entries(PAGES[room])]
    explained = [one for one in public if isinstance(one, type | FunctionType | ModuleType)]
    assert [one.__name__ for one in explained if not one.__doc__ or one.__doc__.startswith(f"{one.__name__}(")] == []


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in menu
