"""`ernest lcnet`: from pictures to a trained, deployed and classifying network in the shell, and one line for every mistake."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ernest.cli import lcnet
from tests.commands import ernest
from tests.lcnet.networks import save_digits, write_digits

COMMANDS = ("train", "deploy", "classify", "profile", "build")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_digits(tmp_path_factory.mktemp("model") / "best.safetensors")


def test_help_tells_what_there_is_and_loads_no_torch() -> None:
    program = f"""
import sys
from ernest import cli
from ernest.cli import lcnet
for command in {("", *COMMANDS)!r}:
    sys.argv = ["ernest", "lcnet", *([command] if command else []), "--help"]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, command
assert not {{"torch", "numpy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not done.stderr
    assert done.stdout.count("usage: ernest lcnet") == 1 + len(COMMANDS)
    for option in (
        "to",
        "precision",
        "calibration",
        "labels",
        "top",
        "threads",
        "json",
        "validation",
        "teacher",
        "picture",
        "everywhere",
    ):
        assert f"--{option}" in done.stdout
    assert tuple(lcnet.COMMANDS) == COMMANDS


def test_pictures_are_classified_in_text_and_json(model, tmp_path, monkeypatch, capsys) -> None:
    files = write_digits(tmp_path, 1297, 1317)
    assert ernest(monkeypatch, "lcnet", "classify", model, *files[:2], "--top", 2, "--threads", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == list(map(str, files[:2]))
    assert all(line.count(",") == 1 for line in lines)
    assert ernest(monkeypatch, "lcnet", "classify", model, tmp_path, "--json", "--top", 1) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(answer["file"] for answer in answers) == sorted(map(str, files))
    right = [answer["labels"][0]["label"] == Path(answer["file"]).parent.name for answer in answers]
    assert sum(right) >= 17


def test_names_come_from_stdin_too(model, tmp_path, monkeypatch, capsys) -> None:
    files = write_digits(tmp_path, 0, 2)
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{file}\n" for file in files)))
    assert ernest(monkeypatch, "lcnet", "classify", model, "-") == 0
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == list(map(str, files))


def test_a_bad_picture_is_told_and_the_status_is_1(model, tmp_path, monkeypatch, capsys) -> None:
    good, bad = write_digits(tmp_path, 0, 1)[0], tmp_path / "half.png"
    bad.write_bytes(good.read_bytes()[:99])
    assert ernest(monkeypatch, "lcnet", "classify", model, bad, good) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"ernest: {bad}: ")
    assert printed.err.count("\n") == 1
    assert printed.out.startswith(f"{good}: ")
    assert ernest(monkeypatch, "lcnet", "classify", model, bad, good, "--json") == 1
    printed = capsys.readouterr()
    assert [sorted(json.loads(line)) for line in printed.out.splitlines()] == [["error", "file"], ["file", "labels"]]
    assert not printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("deploy MODEL", "missing from ernest lcnet deploy: --to {native,openvino,onnx}"),
        ("deploy MODEL --to tflite", "invalid choice 'tflite' for argument '--to'"),
        ("deploy MODEL --to onnx --precision bf16", "precision: ONNX Runtime has no bf16 on a CPU"),
        ("deploy nowhere --to onnx", "nowhere: there is no such file"),
        ("deploy text.txt --to onnx", "text.txt: expected Paddle's .pdparams, a zip file of torch.save, or safetensors"),
        ("classify nowhere a.png", "nowhere: there is no such file"),
        ("classify MODEL", "name pictures, folders of them, or - for names on stdin"),
        ("classify MODEL a.png --top 0", "top: expected 1 or more labels, got 0"),
        ("classify MODEL a.png --threads 0", "threads: expected 1 or more, got 0"),
        ("classify MODEL a.png --labels text.txt", "text.txt: expected a label a line for each of the 10 classes, got 1"),
        ("profile nowhere", "nowhere"),
        ("train nowhere", "nowhere"),
        ("train text.txt --size 64x", "size: expected a side such as 64, or height x width such as 64x256, got '64x'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: str, message: str, model, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("no weights, just text\n")
    assert ernest(monkeypatch, "lcnet", *(str(model) if word == "MODEL" else word for word in arguments.split())) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("ernest: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.slow
def test_from_pictures_to_answers_in_three_commands(tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("onnxruntime", reason="needs ernest-ai[deploy]")
    write_digits(tmp_path / "data", 0, 1297)
    kept = write_digits(tmp_path / "kept", 1297, 1397)
    recipe = ["arch=small", "size=32", "channels=1", "epochs=4", "batch=64", "rate=6.4", "flip=false", "crop_area=[0.8,1.0]"]
    assert ernest(monkeypatch, "lcnet", "train", tmp_path / "data", "-o", tmp_path / "run", "--set", *recipe) == 0
    best = tmp_path / "run/best.safetensors"
    assert str(best) in capsys.readouterr().out
    assert ernest(monkeypatch, "lcnet", "deploy", best, "--to", "onnx", "--calibration", tmp_path / "kept", "--threads", 1) == 0
    told = capsys.readouterr().out
    assert "100.0% of 100 pictures" in told
    assert "pip install" in told
    assert ernest(monkeypatch, "lcnet", "classify", best.with_name("best.fp32.onnx"), *kept, "--top", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(Path(line.split(": ")[0]).parent.name == line.split(": ")[1].split()[0] for line in lines) >= 85


def test_streams_that_lack_letters_or_are_not_there_spoil_nothing(model: Path, tmp_path: Path) -> None:
    """A service may have no input, and a terminal no letters but ASCII's: its last line must not undo what was done before."""
    file = write_digits(tmp_path / "é", 0, 1)[0]
    command = [sys.executable, "-c", "from ernest.cli import main; main()", "lcnet", "classify", str(model)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, "\\xe9" in done.stdout, done.stderr) == (0, True, "")
    closed = subprocess.run(["sh", "-c", '"$@" - <&-', "sh", *command], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, "", "")
