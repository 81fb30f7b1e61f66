"""Whatever README, docs, docstrings and messages name is there: modules to run, dotted paths, files, targets, commands."""

import ast
import importlib
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

from ernest.cli import lcnet, model, phasefield
from ernest.cli.main import parse

ROOT = Path(__file__).parents[1]
ROOMS = "ernest|benchmarks|tests|docs|examples"
PROSE = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / ".github").rglob("*.*"))]
SETTINGS = [ROOT / "Makefile", ROOT / "mkdocs.yml", ROOT / "pyproject.toml"]
CODE = [path for room in ROOMS.split("|") for path in sorted((ROOT / room).rglob("*.py")) if path.name != "mutants.py"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

FIELDS = re.findall(r"^\| `(\w+\.\w+)` \|", (ROOT / "docs/recipe.md").read_text(), flags=re.MULTILINE)
"""Of the recipe, whose sections share names with rooms."""
DATA = (".json", ".jsonl", ".npz", ".png", ".safetensors", ".toml", ".typed")
MODULES: dict[str, list[str]] = {}
for _path in sorted((ROOT / "ernest").rglob("*.py")):
    _name = ".".join(_path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    MODULES.setdefault(_name.rpartition(".")[2], []).append(_name)


def words(path: Path) -> str:
    """The text of a file; of a program its docstrings, other strings that stand alone, and comments."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    strings = [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return "\n".join([*strings, *re.findall(r"(?:^|\s)# (.*)$", text, flags=re.MULTILINE)])


@cache
def is_there(name: str) -> bool:
    """Whether a dotted path is that of a module, or of a name in one, or of an attribute or a field of that."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if hasattr(found, part):
                found = getattr(found, part)
            elif part not in getattr(found, "__annotations__", {}):
                return False
        return True
    return False


def is_of_a_module(first: str, second: str) -> bool:
    """Whether `first.second` may be a name in a file `first` of Ernest, or an attribute of a class there; of others, nothing is
    known."""
    modules = [importlib.import_module(name) for name in MODULES.get(first, [])]
    owners = [owner for module in modules for owner in (module, *(one for one in vars(module).values() if isinstance(one, type)))]
    return not modules or any(hasattr(one, second) or second in getattr(one, "__annotations__", {}) for one in owners)


def has_file(name: str) -> bool:
    """Whether a dotted path is that of a file or folder of Python: asked of what is not imported here."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def title(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*PROSE, *SETTINGS, *CODE], ids=title)
def test_what_is_named_is_there(path):
    text = words(path)
    modules = re.findall(rf"python3? -m ((?:{ROOMS})[.\w]*\w)", text)
    assert [name for name in modules if not has_file(name)] == []
    dotted = re.findall(r"(?<![\w./-])(ernest(?:\.\w+)+)(?![\w/])", text)
    assert [name for name in dotted if not name.endswith(".md") and not is_there(name)] == []
    dotted = re.findall(r"(?<![\w./-])((?:benchmarks|tests)(?:\.\w+)+)(?![\w/])", text)
    assert [name for name in dotted if not has_file(name)] == []
    files = re.findall(rf"(?<![\w./-])(?:{ROOMS})/[\w./-]*\w", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
    targets = re.findall(r"`make ([\w-]+)`", text)
    assert [name for name in targets if name not in TARGETS] == []


@pytest.mark.parametrize("path", [*PROSE, *CODE], ids=title)
def test_short_names_are_there_too(path):
    """Names such as `images.parse`, whose first part is a file of Ernest, and files of ours without their folders."""
    quoted = re.findall(r"`(\w+\.\w+)[`(]", words(path))
    code = [name for name in quoted if Path(name).suffix in (".py", ".h", ".cpp")]
    assert [name for name in code if not list((ROOT / "ernest").rglob(name))] == []
    short = [name for name in quoted if name not in code and name not in FIELDS and Path(name).suffix not in DATA]
    assert [name for name in short if not is_of_a_module(*name.split("."))] == []


@pytest.mark.parametrize("path", PROSE, ids=title)
def test_commands_are_there(path, monkeypatch):
    """Lines of blocks are whole commands, unless they say with brackets or capitals what to put there."""
    text = path.read_text()
    lines = [line for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
    commands = [line.partition("#")[0] for line in lines if line.startswith("ernest ") and not re.search(r"\[|\b[A-Z]{4,}", line)]
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        assert parse(), command
    named = re.findall(r"`ernest (?:(lcnet|phasefield) )?([a-z]+)", text)
    groups = {"": {*model.COMMANDS, "lcnet", "phasefield"}, "lcnet": lcnet.COMMANDS, "phasefield": phasefield.COMMANDS}
    assert [(group, command) for group, command in named if command not in groups[group]] == []


@pytest.mark.parametrize("path", [path for path in PROSE if "```python" in path.read_text()], ids=title)
def test_imports_of_the_programs_are_there(path):
    for program in re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        lines = [ast.unparse(node) for node in ast.parse(program).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec("\n".join(lines), {})


@pytest.mark.parametrize("page", ["group", "world"])
def test_the_programs_of_a_page_run(page):
    known: dict[str, object] = {}
    for program in re.findall(r"^```python\n(.*?)^```$", (ROOT / f"docs/{page}.md").read_text(), re.MULTILINE | re.DOTALL):
        exec(program, known)
