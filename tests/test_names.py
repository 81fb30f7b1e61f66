"""Whatever README, docs, docstrings and messages name is there: modules to run, dotted paths, files, targets, commands."""

import ast
import importlib
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

from ernest.cli.parsing import GROUPS, PLAIN, parse
from tests.optional import MADE_OF, is_missing

ROOT = Path(__file__).parents[1]
ROOMS = "ernest|benchmarks|tests|docs|examples"
PROSE = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("findings/*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / ".github").rglob("*.*")),
]
SETTINGS = [ROOT / "Makefile", ROOT / "mkdocs.yml", ROOT / "pyproject.toml"]
CODE = [path for room in ROOMS.split("|") for path in sorted((ROOT / room).rglob("*.py")) if path.name != "mutants.py"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

FIELDS = [
    name
    for page in ("recipe", "rl")
    for cell in re.findall(r"^\| (`[^|]+) \|", (ROOT / f"docs/{page}.md").read_text(), flags=re.MULTILINE)
    for name in re.findall(r"`(\w+\.\w+)`", cell)
]
"""Of the recipes, whose sections share names with rooms and files."""
FILES = {path.name for path in (ROOT / "ernest").rglob("*.*")}
"""Of Ernest, without their folders."""
DATA = (".json", ".jsonl", ".npz", ".pdiparams", ".png", ".safetensors", ".toml", ".typed")
MODULES: dict[str, list[str]] = {}
for _path in sorted((ROOT / "ernest").rglob("*.py")):
    _name = ".".join(_path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    MODULES.setdefault(_name.rpartition(".")[2], []).append(_name)


@cache
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
        except ModuleNotFoundError as error:
            if is_missing(error) and has_file(".".join(parts[:count])):
                return True
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
    modules = [importlib.import_module(name) for name in MODULES.get(first, []) if name not in MADE_OF]
    owners = [owner for module in modules for owner in (module, *(one for one in vars(module).values() if isinstance(one, type)))]
    return not modules or any(hasattr(one, second) or second in getattr(one, "__annotations__", {}) for one in owners)


def has_file(name: str) -> bool:
    """Whether a dotted path is that of a file or folder of Python: asked of what is not imported here."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def missing(text: str) -> list[str]:
    """Modules to run, dotted paths, files and targets that a text names, and that are not there."""
    modules = re.findall(rf"python3? -m ((?:{ROOMS})[.\w]*\w)", text)
    ours = re.findall(r"(?<![\w./-])(ernest(?:\.\w+)+)(?![\w/])", text)
    others = re.findall(r"(?<![\w./-])((?:benchmarks|tests)(?:\.\w+)+)(?![\w/])", text)
    files = re.findall(rf"(?<![\w./-])(?:{ROOMS})/[\w./-]*\w", text)
    return [
        *(name for name in [*modules, *others] if not has_file(name)),
        *(name for name in ours if not name.endswith(".md") and not is_there(name)),
        *(name for name in files if not (ROOT / name).exists()),
        *(name for name in re.findall(r"`make ([\w-]+)`", text) if name not in TARGETS),
    ]


def missing_short(text: str) -> list[str]:
    """Names such as `images.parse`, whose first part is a file of Ernest, and files of ours without their folders."""
    quoted = re.findall(r"`(\w+\.\w+)[`(]", text)
    code = [name for name in quoted if Path(name).suffix in (".py", ".h", ".cpp")]
    short = [name for name in quoted if name not in code and name not in FIELDS and Path(name).suffix not in DATA]
    return [
        *(name for name in code if name not in FILES),
        *(name for name in short if not is_of_a_module(*name.split("."))),
    ]


def blocks(path: Path, kind: str = "") -> list[str]:
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language == kind]


@pytest.mark.parametrize("find", [missing, missing_short], ids=["whole", "short"])
def test_what_is_named_is_there(find):
    found = {path.relative_to(ROOT).as_posix(): find(words(path)) for path in [*PROSE, *SETTINGS, *CODE]}
    assert {path: names for path, names in found.items() if names} == {}


def test_commands_of_blocks_are_whole(monkeypatch):
    """Unless they say with brackets or capitals what to put there."""
    lines = [line.partition("#")[0] for path in PROSE for block in blocks(path) for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("ernest ") and not re.search(r"\[|\b[A-Z]{4,}", line)]
    assert len(commands) > 20
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        assert parse(), command


def test_commands_in_sentences_are_there():
    named = {words for path in PROSE for words in re.findall(r"`ernest (?:(lcnet|phasefield) )?([a-z]+)", path.read_text())}
    rooms = {name: commands for name, (commands, _) in GROUPS.items()}
    groups = rooms | {"": {*PLAIN, *rooms}}
    assert [(group, command) for group, command in named if command not in groups[group]] == []


def test_imports_of_programs_are_there():
    for program in [block for path in PROSE for block in blocks(path, "python")]:
        lines = [ast.unparse(node) for node in ast.parse(program).body if isinstance(node, ast.Import | ast.ImportFrom)]
        try:
            exec("\n".join(lines), {})
        except ModuleNotFoundError as error:
            if not is_missing(error):
                raise


@pytest.mark.parametrize("page", ["group", "world"])
def test_the_programs_of_a_page_run(page):
    known: dict[str, object] = {}
    for program in blocks(ROOT / f"docs/{page}.md", "python"):
        exec(program, known)
