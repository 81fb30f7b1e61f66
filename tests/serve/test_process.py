"""`ernest serve` as a process: what it says, how it ends, and what it refuses before it listens."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.commands import ernest

ROOT = Path(__file__).parents[2]


def test_a_process_that_is_told_to_end_answers_first(checkpoint):
    """SIGTERM comes while an answer is being made; the answer is whole, and the status 0."""
    command = [sys.executable, "-m", "ernest", "serve", str(checkpoint), "demo:layers=4", "--port", "0"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            told = re.fullmatch(r"Ernest listens on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline().decode())
            assert told is not None
            client = httpx2.Client(base_url=told[1], timeout=60)
            while client.get("/healthz").status_code != 200:
                pass
            body = {"messages": [{"role": "user", "content": "a red seven"}], "n": 4, "stream": True}
            with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                rest = list(lines)
            client.close()
            assert rest[-2] == "data: [DONE]"
            assert sum('"finish_reason":"' in line for line in rest) == 4
            assert process.wait(30) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a checkpoint to serve"),
        (["nowhere"], "nowhere is not a checkpoint"),
        (["nowhere/demo:layers=3"], "nowhere/demo:layers=3: there is no checkpoint 'nowhere/demo'"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert ernest(monkeypatch, "serve", *arguments) == 2
    assert capsys.readouterr().err.startswith(f"ernest: {message}")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("layers=999", "layers = 999: this network can run 4 to 6"),
        ("layers=0", "layers = 0: this network can run 4 to 6"),
        ("experts=9", "experts = 9: this network has 1 to 8"),
        ("layers=5,top_k=3", "top_k = 3: this network was trained with 1 to 2"),
    ],
)
def test_a_part_that_cannot_be_is_refused_before_the_server_listens(monkeypatch, capsys, checkpoint, size, message):
    assert ernest(monkeypatch, "serve", checkpoint, f"demo:{size}", "--port", 0) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"ernest: demo:{size}: {message}")
    assert told.out == ""


def test_a_port_that_is_taken(monkeypatch, capsys, checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert ernest(monkeypatch, "serve", checkpoint, "--port", port) == 2
    assert capsys.readouterr().err == f"ernest: 127.0.0.1:{port}: cannot listen there: Address already in use\n"


def test_a_file_without_keys(monkeypatch, capsys, checkpoint, tmp_path):
    (tmp_path / "keys").write_text("\n \n")
    assert ernest(monkeypatch, "serve", checkpoint, "--keys", tmp_path / "keys") == 2
    assert capsys.readouterr().err == f"ernest: {tmp_path / 'keys'}: holds no key\n"


def test_a_torn_checkpoint_ends_the_server(monkeypatch, capsys, checkpoint, tmp_path):
    """Found while it loads, when it listens already."""
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "model.json").write_text((checkpoint / "model.json").read_text())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        assert ernest(monkeypatch, "serve", torn, "--port", 0) == 2
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert capsys.readouterr().err == f"ernest: {torn} is no whole checkpoint: {torn / 'model.safetensors'} is missing\n"
