"""The command line: help without torch, and one clear line for every mistake, before any work starts."""

import json
import os
import platform
import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from ernest import __version__
from ernest.cli import model, planner, results, rl, training
from ernest.cli.main import main
from ernest.cli.parsing import parse
from ernest.config.submodel_size import SubModelSize
from ernest.data.media import write_image
from tests.commands import ernest

COMMANDS = (
    "demo",
    "import",
    "prepare",
    "train",
    "report",
    "export-checkpoint",
    "plan",
    "sft",
    "rl",
    "generate",
    "describe",
    "slice",
    "analyse",
    "serve",
    "export",
    "build",
    "results",
)


def parsed(monkeypatch, *arguments: str) -> partial:
    """The command that arguments name, with what it would be called with."""
    monkeypatch.setattr(sys, "argv", ["ernest", *arguments])
    command = parse()
    assert isinstance(command, partial)
    return command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A working folder with a picture, a folder of one record, and one of captioned pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("seven.png", "records/seven.png", "photos/seven.png"):
        Path(name).parent.mkdir(exist_ok=True)
        write_image(name, np.full((32, 32, 3), 200, np.uint8))
    Path("photos/seven.txt").write_text("a seven")
    segments = [{"kind": "image", "role": "given", "file": "seven.png"}, {"kind": "text", "role": "made", "text": "a seven"}]
    Path("records/records.jsonl").write_text(json.dumps({"segments": segments, "task": "image→text"}))
    Path("begun").mkdir()
    Path("begun/run.json").write_text("{}")
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    return tmp_path


def test_help_of_every_command_loads_no_torch():
    """One interpreter for all: a command's help ends in SystemExit(0)."""
    program = f"""
import sys
from ernest import __version__, cli
for command in {("", *COMMANDS)!r}:
    sys.argv = ["ernest", *([command] if command else []), "--help"]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, command
    else:
        raise AssertionError(command)
assert not {{"torch", "numpy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert done.stdout.count("usage: ernest") == 1 + len(COMMANDS)
    assert (*training.COMMANDS, *planner.COMMANDS, *rl.COMMANDS, *model.COMMANDS, *results.COMMANDS) == COMMANDS


def test_the_versions_are_printed_without_torch():
    """As `python -m ernest`."""
    program = """
import runpy, sys
sys.argv = ["ernest", "--version"]
runpy.run_module("ernest", run_name="__main__")
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    torch = metadata.version("torch")
    assert done.stdout.startswith(
        f"ernest {__version__}, Python {platform.python_version()}, torch {torch}, {platform.system()}-"
    )
    assert len(done.stdout.splitlines()) == 1


def test_commands_are_called_as_they_are_written(monkeypatch):
    shown = parsed(
        monkeypatch, "generate", "model", "a red seven at the top left", "--to", "image", "-o", "seven.png", "--top-k", "1"
    )
    assert shown.func is model.generate
    chosen = shown.keywords | dict(zip(("checkpoint", "prompts"), shown.args, strict=False))
    assert chosen["prompts"] == ("a red seven at the top left",)
    assert (chosen["to"], chosen["out"], chosen["size"]) == ("image", Path("seven.png"), SubModelSize(top_k=1))
    described = parsed(monkeypatch, "describe", "model", "a.wav", "--layers", "5", "--experts", "24")
    assert described.keywords["size"] == SubModelSize(5, 24)
    cut = parsed(monkeypatch, "slice", "model", "--layers", "5", "--experts", "24", "--top-k", "1", "-o", "small")
    assert (cut.func, cut.keywords["out"]) == (model.slice_, Path("small"))
    assert parsed(monkeypatch, "train", "--data", "records").keywords["run"] == training.RunOptions(Path("records"))
    line = "train --data d --out run --set training.steps=9 size=5 --recipe mine.toml --set seed=1"
    run = parsed(monkeypatch, *line.split()).keywords["run"]
    assert (run.out, run.set_, run.recipe) == (Path("run"), (("training.steps=9", "size=5"), ("seed=1",)), Path("mine.toml"))
    assert parsed(monkeypatch, "import", "photos", "--out", "d").keywords["kind"] == "folder"
    assert parsed(monkeypatch, "import", "mnist", "-o", "d", "--kind", "mnist", "--limit", "5").keywords["limit"] == 5
    assert parsed(monkeypatch, "demo", "--minutes", "2", "--build", "here").keywords["minutes"] == 2.0


MISTAKES = (
    ("", f"expected one of {{{', '.join((*COMMANDS, 'tokenizer', 'refiner', 'phasefield', 'lcnet'))}}}"),
    ("draw", "unknown: draw"),
    ("tokenizer report records --data photos -o full", "full is a folder, which would be lost: move it, or choose another name"),
    ("tokenizer encode records photos/seven.png -o full", "full is a folder, which would be lost"),
    ("plan --calibrate full", "full is a folder, which would be lost"),
    ("export-checkpoint records -o full", "full exists already: choose a new folder"),
    ("phasefield run square", "Expected one of ('circle', 'seven-circles', 'spinodal', 'star', 'two-drops') (see"),
    ("phasefield run star --dimensions 4", "'--dimensions'. Expected one of ('1', '2', '3') (see ernest phasefield run --help)"),
    ("phasefield run star --units 1", "--units: expected FLOAT FLOAT, got '1' (see ernest phasefield run --help)"),
    ("generat nowhere", "unknown: generat, nowhere; did you mean generate? (see ernest --help)"),
    ("tokenizer trian", "unknown: trian; did you mean train? (see ernest tokenizer --help)"),
    ("phasefield run star --toleranc 3", "unknown: --toleranc, 3; did you mean --tolerance? (see ernest phasefield run --help)"),
    (
        "generate nowhere words --too image",
        "--to {text,image,video,audio}; did you mean --to by --too? (see",
    ),
    ("generate nowhere words --to image --temperature hot", "--temperature: expected a number, got 'hot' (see ernest generate"),
    ("generate nowhere words --to text --prompt-file gone.txt", "gone.txt: there is no such file"),
    ("import photos -o d --kind mnist --limit 1.5", "--limit: expected a whole number, got '1.5'"),
    ("export nowhere --to hf -o out --findings gone", "gone: there is no such file"),
    ("generate", "missing from ernest generate: CHECKPOINT --to {text,image,video,audio}"),
    ("generate nowhere words --to smell", "invalid choice 'smell' for argument '--to'"),
    ("generate nowhere words --to image --outt a.png", "unknown: --outt, a.png; did you mean --out?"),
    ("train --data records --set seed=-1", "seed = -1 must lie between 0 and 2^63 - 1"),
    ("train --data records --set seed=99999999999999999999", "seed = 99999999999999999999 must lie between 0 and 2^63 - 1"),
    ("train --data records --set tokenizers.audio_steps=0", "tokenizers.audio_steps = 0 must be at least 1"),
    ("import photos -o new --limit 3", "--limit is of --kind mnist: a folder is imported whole"),
    ("import photos -o .", ". is the folder that you are in, which cannot be replaced: name a new one in it"),
    (
        "plan --check begun --devices 2xcpu --layout shard=2",
        "--check takes recipe and layout from the run: leave --layout and --set out",
    ),
    ("demo --minutes x", "--minutes: expected a number, got 'x' (see ernest demo --help)"),
    (
        "generate nowhere words --to image",
        "nowhere is not a checkpoint: it has no model.json (`ernest train` and `ernest",
    ),
    ("generate records words --to image", "records is not a checkpoint"),
    ("generate nowhere words --to image -o a.wav", "a.wav: a name for image ends in png, jpg"),
    ("generate nowhere words --to audio -o a.gif", "a.gif: a name for audio ends in wav"),
    ("generate nowhere words --to video -o a.jpg", "a.jpg: a name for video ends in gif, webp, png, apng, mp4"),
    ("generate nowhere words --to video -o a.gif", "nowhere is not a checkpoint"),
    ("generate nowhere words --to video", "nowhere is not a checkpoint"),
    ("generate nowhere _ --to text", "the prompt is empty: say what to make"),
    ("describe nowhere seven.png", "nowhere is not a checkpoint"),
    ("export records --to hf -o out", "records is not a checkpoint"),
    ("export records --to ernest -o out", "records is no folder of transformers: it has no config.json"),
    ("plan base --devices H100", "devices 'H100': expected a count and a device, such as 8xH100"),
    (
        "plan nothing --devices 8xH100",
        "recipe 'nothing': neither a file nor one of base, films17, pictures64, small, sparse,",
    ),
    ("prepare --data records --out full", "full holds something else than a training"),
    ("train --data records --out run --set parallel.expert=5", "parallel.expert = 5 must divide model.experts = 48"),
    ("train --data records --out run --set parallel.pipeline=2", "parallel.pipeline: not built"),
    ("describe nowhere eight.png", "eight.png: there is no such file"),
    ("describe nowhere seven.doc", "seven.doc: there is no such file"),
    ("slice nowhere -o small", "say what to keep: --layers, --experts or --top-k"),
    ("slice nowhere --top-k 1", "missing from ernest slice: -o FOLDER"),
    ("slice nowhere --top-k 1 -o small", "nowhere is not a checkpoint"),
    ("slice nowhere --top-k 1 -o full", "full exists already: choose a new folder"),
    ("slice nowhere -o small --fit memory=12", "--fit memory=12: expected memory=12MB (or KB, GB), latency=3ms/token"),
    ("slice nowhere -o small --fit latency=3ms", "--fit latency=3ms: expected memory=12MB"),
    ("slice nowhere -o small --fit speed=3", "--fit speed=3: expected memory=12MB"),
    ("slice nowhere -o small --fit memory=0MB", "--fit memory=0MB: expected memory=12MB"),
    ("slice nowhere -o small --fit memory=1MB memory=2MB", "--fit memory=2MB: memory is limited already"),
    ("slice nowhere -o small --fit memory=1MB --layers 5", "--fit finds --layers, --experts and --top-k by itself"),
    ("slice nowhere -o full --fit memory=1MB", "full exists already: choose a new folder"),
    ("slice nowhere -o small --fit memory=1MB", "nowhere is not a checkpoint"),
    ("analyse nowhere", "nowhere is not a checkpoint"),
    ("analyse nowhere --data nothing", "nothing: there is no such file"),
    ("results race", "race: expected one of superconvergence, time-marching, routing"),
    ("results routing --checkpoint nowhere", "routing: nowhere is no checkpoint: `make demo` trains one"),
    ("import nowhere -o d", "nowhere is no folder"),
    ("import full -o d", "full: nothing to import: it holds no pictures, sounds or videos"),
    ("import photos -o full", "full exists already: records are written to a new folder"),
    ("import photos -o photos/d", "photos/d lies in the folder that is read"),
    ("import photos -o d --captions words.csv", "words.csv: there is no such table of captions"),
    ("import full -o d --kind mnist", "full: there is no file train-images-idx3-ubyte, packed (.gz) or not"),
    ("train", "missing from ernest train: --data FOLDER"),
    ("train --data nowhere", "nowhere is no folder of records: it has no records.jsonl"),
    ("train --data records --out full", "full holds something else than a training: choose a new folder"),
    ("train --data records --out begun", "begun holds a run on other records, tokenizers or settings"),
    (
        "train --data records --recipe tinny",
        "recipe 'tinny': neither a file nor one of base, films17, pictures64, small, sparse,",
    ),
    ("train --data records --set training.step=3", "unknown field 'training.step'; did you mean 'steps'?"),
    ("train --data records --set size=5 training.steps=many", "training.steps = 'many': expected int, got str"),
    ("train --data records --set size=many --set seed=1", "size = 'many': expected int, got str"),
    ("train --data records --tokenizers full", "full is not a checkpoint: it has no tokenizers"),
    ("train --data records --set mixture.image→text=0", "one of the tasks of the data must weigh more than 0: 'image→text'"),
    ("train --data records --set sequence.length=16", "line 1: its pictures and videos take 19 positions, more than sequence"),
    ("train --data records --set sequence.length=20", "line 1: takes 2"),
    (
        "train --data records --set media.frames=16",
        "media.frames = 16: expected 1 and a multiple of 4, to 33 in all; the nearest is 17",
    ),
    ("demo --set media.height=64", "media.height = 64: the demo's world and judges are of 32"),
    ("tokenizer train smell --data photos -o eyes", "invalid choice 'smell'"),
    ("tokenizer train vision --data nowhere -o eyes", "nowhere: there is no such file"),
    (
        "tokenizer train vision --data photos -o eyes --set media.width=60",
        "media.width = 60: expected a multiple of 8, from 8 to 256; the nearest is",
    ),
    ("tokenizer train audio --data photos -o ears", "photos: nothing to learn from: it holds no audio"),
    ("tokenizer train vision --data photos -o records", "records holds something else than a training: choose a new folder"),
    ("tokenizer encode nowhere a.png -o a", "nowhere: there is no such file"),
    ("tokenizer encode photos seven.png -o a", "photos holds no vision tokenizer: `ernest tokenizer train` makes one"),
    ("tokenizer decode photos seven.png -o a.png --refine nowhere", "nowhere: there is no such file"),
    ("generate nowhere words --to image --refine nothing", "nothing: there is no such file"),
    ("refiner train --data nowhere --tokenizer photos -o big", "nowhere: there is no such file"),
    ("refiner train --data world --tokenizer nowhere -o big", "nowhere: there is no such file"),
    ("refiner train --data world --tokenizer photos -o big --factor 3", "invalid choice '3'"),
    ("refiner train --data world --tokenizer photos -o big", "photos holds no vision tokenizer: `ernest tokenizer train` makes"),
    ("refiner report photos --data world", "photos holds no refiner: `ernest refiner train` makes one"),
    ("train --data records --set model.layers=4", "model.layers = 4 must exceed the audio levels (4)"),
    ("demo --minutes 0", "minutes = 0.0 must be positive"),
    ("demo --minutes -3", "minutes = -3.0 must be positive"),
    ("demo --set training.learning_rat=1", "unknown field 'training.learning_rat'; did you mean 'learning_rate'?"),
)
NEED_TORCH = (
    "sequence.length=20",
    "model.layers",
    "tokenizer train audio",
    "tokenizer train vision --data photos -o records",
    "encode photos",
    "--tokenizer photos -o big",
    "refiner report photos",
)
"""What only the shapes of the networks show to be a mistake."""


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_status_2(folder, monkeypatch, capsys, arguments, message):
    before = sorted(folder.rglob("*"))
    status = ernest(monkeypatch, *(" " if word == "_" else word for word in arguments.split()))
    printed = capsys.readouterr()
    assert status == 2
    assert printed.err.startswith("ernest: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out.strip()
    assert sorted(folder.rglob("*")) == before


def test_who_reads_no_more_or_closed_a_stream_gets_no_complaint_and_no_narrow_terminal_hangs():
    """One interpreter after the other of few: as `| head`, as `>&-`, and with one column."""
    program = "import os, sys\nfrom ernest import cli\nsys.argv = ['ernest', '--help']\n"
    head, tail = os.pipe()
    os.close(head)
    unread = subprocess.run(
        [sys.executable, "-c", f"{program}cli.main()"],
        stdout=tail,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
        env=os.environ | {"COLUMNS": "1"},
    )
    os.close(tail)
    assert (unread.returncode, unread.stderr) == (141, b"")
    ask = 'import os; assert (sys.stdin.read(), sys.stdout.isatty()) == ("", False); assert os.open(".", os.O_RDONLY) > 2'
    closed = [f"{program}try: cli.main()\nexcept SystemExit: pass\n{ask}"]
    shell = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>"$2"', sys.executable, *closed, os.devnull]
    assert subprocess.run(shell, check=False, timeout=60).returncode == 0


def test_memory_that_is_not_there_is_told_in_a_line(monkeypatch, capsys):
    said = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 160000000000 bytes. Error code 12"
    for words, error in ((said, SystemExit), ("shapes do not fit", RuntimeError)):

        def fail(words=words) -> None:
            raise RuntimeError(words)

        monkeypatch.setattr(sys.modules["ernest.cli.main"], "parse", lambda fail=fail: fail)
        monkeypatch.setattr(sys, "argv", ["ernest"])
        with pytest.raises(error):
            main()
    assert capsys.readouterr().err == "ernest: not enough memory: 160000000000 bytes more were asked for\n"


def test_what_draws_says_before_its_work_that_it_cannot(folder, monkeypatch, capsys):
    monkeypatch.setattr("ernest.report.figures.find_spec", lambda name: None)
    assert ernest(monkeypatch, "report", "records") == 2
    assert capsys.readouterr().err == "ernest: pictures need matplotlib: pip install 'ernest-ai[demo]'\n"


def test_a_path_from_home_on_is_one_that_no_shell_has_resolved(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/anna")
    words = ("import", "~/photos", "--out=~/records")
    found = parsed(monkeypatch, *words)
    assert [*found.args, *found.keywords.values()][:2] == [Path("/home/anna/photos"), Path("/home/anna/records")]
    assert parsed(monkeypatch, "train", "--data=~/records").keywords["run"].data == Path("/home/anna/records")
    named = parsed(monkeypatch, "refiner", "train", "--data=~/photos", "--tokenizer=t", "--out=r")
    assert named.keywords["data"] == Path("/home/anna/photos")
    assert parsed(monkeypatch, "plan", "--devices=1xcpu", "~/mine.toml").keywords["recipe"] == Path("/home/anna/mine.toml")
    Path("~").mkdir()
    found = parsed(monkeypatch, *words)
    assert [*found.args, *found.keywords.values()][:2] == [Path("~/photos"), Path("~/records")]


def test_a_mistake_is_told_without_torch(folder):
    """One interpreter for all: torch takes seconds to import, which nobody should wait for to read of a mistyped name."""
    program = """
import json, sys
from ernest import cli
for line in json.load(sys.stdin):
    sys.argv = ["ernest", *(" " if word == "_" else word for word in line.split())]
    try:
        cli.main()
    except SystemExit as end:
        assert end.code == 2, line
    assert "torch" not in sys.modules, line
"""
    of_leaves = ("lcnet classify nowhere x.png", "lcnet train nowhere", "lcnet deploy nowhere --to onnx", "lcnet profile nowhere")
    lines = [line for line, _ in MISTAKES if not any(word in line for word in NEED_TORCH)] + list(of_leaves)
    assert len(lines) >= 40
    done = subprocess.run([sys.executable, "-c", program], input=json.dumps(lines), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_tells_what_it_did_and_what_it_left_out(folder, monkeypatch, capsys):
    Path("photos/broken.png").write_bytes(b"no picture")
    assert ernest(monkeypatch, "import", "photos", "--out", "made/records") == 0
    printed = capsys.readouterr()
    assert printed.out == "made/records: 2 records, captions from the text files beside the media, 1 left out\n"
    assert printed.err.startswith("left out: photos/broken.png: not a picture that can be read")
    assert len(Path("made/records/records.jsonl").read_text().splitlines()) == 2
