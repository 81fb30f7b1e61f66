"""`ernest phasefield run` on the command line: its choices are those of the engine, and its mistakes are one line."""

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from ernest import cli
from ernest.cli import phasefield
from ernest.cli.main import _how_to_go_on, _signal
from ernest.cli.parsing import parse
from ernest.phasefield import scenes

DOCS = Path(__file__).parents[2] / "docs/phasefield"


def test_choices_are_those_of_the_engine():
    choices = {name: get_args(hint) for name, hint in get_type_hints(phasefield.run).items()}
    assert get_args(choices["scene"][0]) == tuple(scenes.SCENES)
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
        ("phasefield", "expected one of {run} (see ernest phasefield --help)"),
        ("phasefield walk", "unknown: walk (see ernest phasefield --help)"),
        ("phasefield run", "run: expected either a scene (star, circle, seven-circles, two-drops, spinodal) or --from FILE"),
        ("phasefield run star --from x.npz", "run: expected either a scene (star, circle"),
        ("phasefield run --from x.npz", "x.npz: there is no such file"),
        ("phasefield run stars", "invalid choice 'stars' for argument 'scene'. Expected one of ("),
        ("phasefield run star --waves 3 --film gif", "waves: only the scene spinodal is made of noise, got star"),
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


def test_a_run_does_not_write_over_the_file_that_it_begins_with(monkeypatch, capsys, tmp_path):
    """Which the same command would go on from."""
    (tmp_path / "data.npz").write_text("mine")
    line = f"ernest phasefield run --from {tmp_path}/data.npz --flow allen-cahn --end 1 --film gif -o {tmp_path}"
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises(SystemExit):
        cli.main()
    assert "data.npz is what the run begins with, and would be lost: choose another folder with --out" in capsys.readouterr().err
    assert (tmp_path / "data.npz").read_text() == "mine"


def test_a_run_prints_what_it_wrote(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    line = "ernest phasefield run circle --points 32 --kappa 0.05 --end 0.1 --tolerance 1e-3 --film gif --frames 3 -o here"
    monkeypatch.setattr(sys, "argv", line.split())
    before = signal.getsignal(signal.SIGTERM)
    cli.main()
    assert signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"here/{name}" for name in ("snapshots.png", "laws.png", "film.gif", "data.npz")
    ]


INTERRUPTED = """
import os, signal, sys
from ernest.cli import main
from ernest.phasefield import scenes

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background is told to ignore it
run, steps, name = scenes.run_scene, [], sys.argv[1]

def ends(record):
    steps.append(record)
    if len(steps) == 2:
        os.kill(os.getpid(), getattr(signal, name))

scenes.run_scene = lambda *arguments, **settings: run(*arguments, **settings, progress=ends)
sys.argv[:] = ["ernest", *sys.argv[2:]]
main()
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_run_with_its_files_and_a_word_of_this_command(name, status, tmp_path):
    pytest.importorskip("matplotlib")
    line = "phasefield run circle --points 32 --kappa 0.05 --end 5 --film gif --frames 3 -o here --checkpoint 5"
    words = [sys.executable, "-c", INTERRUPTED, name, *line.split()]
    environment = os.environ | {"PYTHONPATH": str(DOCS.parents[1]), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status
    said = done.stderr.strip().splitlines()[-1]
    how = r"what was done is in here; the same command with --resume goes on from there"
    assert re.fullmatch(rf"ernest: interrupted at t = [\d.e-]+ of 5; {how}", said)
    names = {"snapshots.png", "laws.png", "film.gif", "data.npz", "run.json", "checkpoint.safetensors"}
    assert {file.name for file in (tmp_path / "here").iterdir()} == names
    assert not list((tmp_path / "temporary").iterdir())


def test_other_commands_say_what_they_can_do(monkeypatch):
    for line, words in (
        ("train --data x", "interrupted; the same `ernest train` goes on where it stopped"),
        ("lcnet train x", "interrupted; the same `ernest lcnet train` goes on where it stopped"),
        ("describe x y", "interrupted"),
    ):
        monkeypatch.setattr(sys, "argv", ["ernest", *line.split()])
        command = parse()
        stop = KeyboardInterrupt()
        assert _how_to_go_on(command, stop) == words
        assert _signal(stop) == 2
