"""What CONTRIBUTING says of rooms and targets is so: the order of imports, the rooms and their lines, what make can do."""

import re
import tomllib
from pathlib import Path
from pkgutil import iter_modules

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| .+ \| ([\d,]+) \|$", TEXT, flags=re.MULTILINE)
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = next(one["layers"] for one in CONTRACTS if one["id"] == "rooms")


def python_lines(room: str) -> int:
    path = ROOT / "ernest" / room
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return sum(len(file.read_text().splitlines()) for file in files)


def test_the_order_of_imports_is_the_one_that_is_held():
    (written,) = re.findall(r"^    (cli > (?:.|\n)*?)\n\n", TEXT, flags=re.MULTILINE)
    held = [layer.replace("(", "").replace(")", "") for layer in LAYERS if layer != "(__main__)"]
    assert " ".join(written.split()) == " > ".join(held)


def test_every_room_is_explained_in_the_order_of_imports_and_has_not_outgrown_its_lines():
    there = {room.name for room in iter_modules([str(ROOT / "ernest")])} - {"__main__"}
    assert {room for room, _ in ROWS} == there
    assert len(ROWS) == len(there)
    layer = {room: number for number, names in enumerate(LAYERS) for room in re.findall(r"\w+", names)}
    assert [layer[room] for room, _ in ROWS] == sorted(layer[room] for room, _ in ROWS)
    assert {room: python_lines(room) for room, most in ROWS if python_lines(room) > int(most.replace(",", ""))} == {}


def test_every_target_of_make_is_explained():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"`make ([\w-]+)`", TEXT)) == set(targets)
