"""`ernest phasefield run` on the command line: its choices are those of the engine, and its mistakes are one line."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from ernest import cli
from ernest.cli import phasefield
from ernest.cli.main import parse
from ernest.phasefield import scenes

DOCS = Path(__file__).parents[2] / "docs/phasefield"


def test_choices_are_those_of_the_engine():
    choices = {name: get_args(hint) for name, hint in get_type_hints(phasefield.run).items()}
    assert choices["scene"] == tuple(scenes.SCENES)
    assert choices["flow"] == ("usual", *scenes.FLOWS)


def test_commands_of_the_docs_can_be_called(monkeypatch):
    pages = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    lines = re.findall(r"(?:^|`)(ernest phasefield [^`\n]+)", pages, flags=re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        monkeypatch.setattr(sys, "argv", line.split())
        command = parse()
        assert isinstance(command, partial)
        assert command.func is phasefield.run


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("phasefield", "expected one of {run} (see ernest --help)"),
        ("phasefield walk", "unknown: walk (see ernest --help)"),
        ("phasefield run", "missing from ernest phasefield run: {star,circle,seven-circles,two-drops,spinodal}"),
        (
            "phasefield run stars",
            "invalid choice 'stars' for argument 'scene'. Expected one of ('star', 'circle', 'seven-circles'",
        ),
        ("phasefield run star --pints 3", "unknown: --pints, 3; did you mean --points?"),
        ("phasefield run star --end -1 --film gif", "end: expected a time after 0, got -1.0"),
        ("phasefield run star --points 7 --film gif", "grid points: expected 2 or more, and an even number"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(line, message, monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ernest", *line.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    assert end.value.code == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_prints_what_it_wrote(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    line = "ernest phasefield run circle --points 32 --kappa 0.05 --end 0.1 --tolerance 1e-3 --film gif --frames 3 -o here"
    monkeypatch.setattr(sys, "argv", line.split())
    cli.main()
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"here/{name}" for name in ("snapshots.png", "laws.png", "film.gif", "data.npz")
    ]
