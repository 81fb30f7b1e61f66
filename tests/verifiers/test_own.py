"""Users' own verifiers: what hangs, raises or answers nonsense gives no verdict and one line, and the next call is judged."""

import gc
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ernest.sequence.record import Record, given, made
from ernest.verifiers import endpoint
from ernest.verifiers.own import own_verifier
from ernest.verifiers.verdict import Verdict, VerifierFailed

FILE = f"{Path(__file__).parent / 'judging.py'}:judge"


def record(do: str) -> Record:
    return Record((given("text", "a question"), made("text", "an answer")), "a task", {"do": do, "digit": np.int64(7)})


def fault(verifier, do: str) -> str:
    with pytest.raises(VerifierFailed) as caught:
        verifier(record(do), [made("text", "abc")])
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{FILE}: ")


def is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits to be asked for does not."""
    status = Path(f"/proc/{process}/stat")
    return status.is_file() and status.read_text().rpartition(")")[2].split()[0] != "Z"


# ------------------------------------------------------------------ functions


def test_numbers_of_numpy_and_torch_are_plain_ones():
    verifier = own_verifier(FILE, timeout=120.0, retries=0)
    assert verifier(record("numpy and torch"), [made("text", "abc")]) == Verdict(0.25, True, "", {"a": 0.5, "b": 1.0})


def test_a_function_costs_what_it_fails_at_and_no_more():
    verifier = own_verifier(FILE, timeout=1.5, retries=0)
    first = verifier(record("judge"), [made("text", "abc")])
    assert (first.score, first.passed, first.parts) == (0.3, True, {"length": 1.0})
    assert fault(verifier, "raise") == "RuntimeError: no idea"
    assert fault(verifier, "score") == "score = nan must lie between 0 and 1"
    assert fault(verifier, "passed") == "passed = 'yes' must be true or false"
    assert fault(verifier, "parts") == "part a = 7.0 must lie between 0 and 1"
    assert fault(verifier, "nonsense") == "expected a Verdict, got 0.7"
    assert verifier(record("judge"), [made("text", "abc")]) == first  # by the same process

    start = time.monotonic()
    assert fault(verifier, "sleep") == "took longer than 1.5 s"
    assert time.monotonic() - start < 5
    hung = int(first.reason.split()[1])
    assert not is_alive(hung)
    second = verifier(record("judge"), [made("text", "abc")])
    assert second.reason != first.reason
    assert fault(verifier, "exit") == "its process ended"
    third = verifier(record("judge"), [made("text", "abc")])
    assert third.score == 0.3
    del verifier
    gc.collect()  # the failures that were caught still hold it
    assert not is_alive(int(third.reason.split()[1]))


def test_a_function_finds_what_lies_beside_its_file(tmp_path, monkeypatch):
    """And that of a module in the folder at hand is found by the module's name."""
    (tmp_path / "rules_of_mine.py").write_text("LIMIT = 2\n")
    (tmp_path / "mine.py").write_text(
        "from ernest.verifiers.verdict import Verdict\nfrom rules_of_mine import LIMIT\n"
        "def short(record, output):\n    return Verdict(1.0, len(output[0].data) <= LIMIT)\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("mine:short", f"{tmp_path}/mine.py:short"):
        verifier = own_verifier(name, 5.0, 0)
        assert [verifier(record(""), [made("text", words)]).passed for words in ("ab", "abc")] == [True, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:judge", "there is no file nowhere.py"),
        (FILE.replace(":judge", ":nobody"), "judging.py has no function nobody"),
        (FILE.replace(":judge", ":NUMBER"), "judging.py has no function NUMBER"),
        (FILE.replace(":judge", ":later"), "later is async: write a plain function that returns a Verdict"),
        ("no_such_module:judge", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("a b:c", "write module:function, file.py:function or http://host:port/path"),
        ("mine.py:", "write module:function, file.py:function or http://host:port/path"),
        ("http://:80", "write http://host:port/path"),
        ("http://127.0.0.1:seven/", "write http://host:port/path"),
        ("http://127.0.0.1:1/judge", "nobody listens there (ConnectionRefusedError: [Errno 111] Connection refused)"),
    ],
)
def test_wrong_names_are_one_line(name, message):
    with pytest.raises(ValueError, match=rf"^verifier '[^\n]*{re.escape(message)}$"):
        own_verifier(name, 5.0, 0)


# ------------------------------------------------------------------ endpoints


class Server(BaseHTTPRequestHandler):
    """Answers by the path: what a server can do wrong, and what is right."""

    asked: list[tuple[str, dict]]
    statuses: list[int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        status = self.statuses.pop() if self.statuses else 200
        if self.path == "/slow":
            time.sleep(1)
        answer = {
            "/garbage": b"<html>",
            "/list": b"[1]",
            "/much": b" " * (endpoint.LARGEST_ANSWER + 1),
            "/score": b'{"score": 3, "passed": true}',
        }.get(self.path, b'{"score": 0.5, "passed": false, "reason": "half", "parts": {"a": 0.5}}')
        self.send_response(status)
        self.end_headers()
        try:
            for n in range(8 if self.path == "/trickle" else 0):
                self.wfile.write(answer[n : n + 1])
                time.sleep(0.1)
            self.wfile.write(answer)
        except OSError:
            pass  # the asker has gone

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    Server.asked, Server.statuses = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as serving:
        threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()


def test_an_endpoint_is_told_everything_and_answers_with_a_verdict(server):
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = own_verifier(f"{server}/judge", 5.0, 0)(record("judge"), [made("text", "abc"), made("image", picture)])
    assert found == Verdict(0.5, False, "half", {"a": 0.5})
    ((path, told),) = Server.asked
    assert (path, told["task"], told["facts"]) == ("/judge", "a task", {"do": "judge", "digit": 7})
    assert told["given"] == [{"kind": "text", "text": "a question"}]
    words, shown = told["output"]
    assert words == {"kind": "text", "text": "abc"}
    assert (shown["kind"], shown["dtype"], shown["shape"], shown["data"]) == ("image", "uint8", [2, 2, 3], "AAECAwQFBgcICQoL")


@pytest.mark.parametrize(
    ("path", "statuses", "asked", "message"),
    [
        ("/slow", [], 2, "no answer in 0.3 s, asked 2 times"),
        ("/trickle", [], 2, "no answer in 0.3 s, asked 2 times"),
        ("/judge", [500, 500], 2, "status 500, asked 2 times"),
        ("/judge", [404], 1, "status 404"),
        ("/garbage", [], 1, "expected a verdict in JSON, got b'<html>'"),
        ("/list", [], 1, "expected an object with score and passed, got b'[1]'"),
        ("/score", [], 1, "score = 3 must lie between 0 and 1"),
        ("/much", [], 1, "its answer exceeds 1,048,576 bytes"),
    ],
)
def test_an_endpoint_that_fails_gives_no_verdict(server, path, statuses, asked, message):
    verifier = own_verifier(f"{server}{path}", 0.3, 1)
    Server.statuses[:] = statuses
    start = time.monotonic()
    assert fault(verifier, "judge").endswith(f"{path}: {message}")
    assert time.monotonic() - start < 5
    assert len(Server.asked) == asked


def test_an_endpoint_is_asked_again(server):
    verifier = own_verifier(f"{server}/judge", 5.0, 2)
    Server.statuses[:] = [429, 503]
    assert verifier(record("judge"), []).score == 0.5
    assert len(Server.asked) == 3


def test_a_server_that_goes_away_is_a_failure(server):
    gone = own_verifier(f"{server}/judge", 1.0, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endpoint.http.client.HTTPConnection, "connect", _refused)
        assert "ConnectionRefusedError" in fault(gone, "judge")


def _refused(connection) -> None:
    raise ConnectionRefusedError(111, "Connection refused")
