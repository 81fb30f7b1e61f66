"""What a server keeps: as much memory after thousands of answers, cancels and odd requests as after the first ones."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.serve.test_fuzz import JSON, REAL, run

SERVER = """
import sys
from functools import partial
from ernest.cli import main
from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths
from ernest.serve import loaded
if sys.argv[2:] == ["short"]:
    loaded.Engine = partial(Engine, max_lengths=MaxLengths(tokens=4, frames=2, codec_frames=2))
sys.argv = ["ernest", "serve", sys.argv[1], "--port", "0", "--queue", "64"]
main()
"""
"""In a process of its own, so that what the tests themselves keep is not counted; its answers may be short."""
WORDS = ("a red seven at the top left", "three plus four is", "anna says seven", "a disk shrinking", "seven")


@dataclass(frozen=True)
class Process:
    url: str
    number: int

    def pages(self) -> int:
        """Resident ones."""
        return int(Path(f"/proc/{self.number}/statm").read_text().split()[1])

    def check(self) -> None:
        """Nothing is left of what was asked."""
        time.sleep(1)
        metrics = httpx2.get(f"{self.url}/metrics").text
        assert "ernest_rows 0\n" in metrics
        assert "ernest_queue 0\n" in metrics
        assert "ernest_faults_total" not in metrics


@contextmanager
def serving(checkpoint: Path, *how: str) -> Iterator[Process]:
    command = [sys.executable, "-c", SERVER, str(checkpoint), *how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            while httpx2.get(f"{url}/healthz").status_code != 200:
                time.sleep(0.1)
            yield Process(url, process.pid)
        finally:
            process.kill()


def cancel(url: str, times: int) -> None:
    """Breaks so many streams off after their first line."""
    body = json.dumps({"messages": [{"role": "user", "content": "a red seven"}], "stream": True})
    with httpx2.Client(base_url=url, timeout=60) as http:
        for _ in range(times):
            with http.stream("POST", "/v1/chat/completions", content=body, headers={"Content-Type": JSON}) as answer:
                next(answer.iter_lines())


def answer(http: httpx2.Client, number: int) -> None:
    """One whole answer, of one kind after the other."""
    words = WORDS[number // 6 % len(WORDS)]
    match number % 6:
        case 0 | 1 as streamed:
            body = {"messages": [{"role": "user", "content": words}], "stream": bool(streamed)}
            found = http.post("/v1/chat/completions", json=body)
        case 2:
            found = http.post("/v1/images/generations", json={"prompt": words, "stream": True, "partial_images": 2})
        case 3:
            found = http.post("/v1/audio/speech", json={"input": words, "voice": "any"})
        case 4:
            found = http.post("/v1/videos/generations", json={"prompt": words, "output_format": "gif"})
        case _:
            found = http.post("/playground/answer", data={"to": "text"}, files={"files": ("x", REAL[number // 6 % 2])})
    assert found.status_code == 200, found.text


def answers(url: str, numbers: range) -> None:
    """By 16 clients."""
    with httpx2.Client(base_url=url, timeout=600) as http, ThreadPoolExecutor(16) as clients:
        list(clients.map(lambda number: answer(http, number), numbers))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_times_as_many_answers_take_no_more_memory(checkpoint):
    """Of all kinds and of full length, 16 at a time; the first ones fill the cache of keys and values to its largest."""
    with serving(checkpoint) as server:
        answers(server.url, range(240))
        before = server.pages()
        answers(server.url, range(240, 2400))
        server.check()
        assert server.pages() < 1.05 * before


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_thousands_of_odd_requests_leave_the_memory_as_it_was(checkpoint):
    """And a thousand cancels. The first requests fill what is kept on purpose, such as finished films."""
    with serving(checkpoint, "short") as server:
        run(server.url, 600)
        cancel(server.url, 100)
        before = server.pages()
        assert run(server.url, 2000).sent >= 2000
        cancel(server.url, 1000)
        server.check()
        assert server.pages() < 1.05 * before
