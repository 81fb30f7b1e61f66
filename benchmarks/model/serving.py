"""How much of the engine's speed is left behind HTTP, how long clients wait, and whether the server's memory stays.

`python -m benchmarks.model.serving CHECKPOINT` starts a server in a process of its own and asks it for texts, pictures, sounds,
films and descriptions from 64 clients at once. What it has done per second of its processor time is compared to the engine alone
on the same requests in the same order, as many at a time. Clients have processes of their own, whose time does not count.
Then the server, which does nothing else now, is asked for pictures as the playground asks: how soon is the first scale there?
"""

import argparse
import asyncio
import base64
import io
import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from ernest.generation.engine import Engine
    from ernest.generation.request import MadeSegment

WORDS = ("a red seven at the top left", "three plus four is", "anna says seven", "a disk shrinking", "a green two", "nine")
KINDS = ("text", "picture", "streamed text", "sound", "description", "film")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What clients have seen: seconds of each answer by kind."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    failed: int = 0

    def add(self, other: "Load") -> None:
        for kind, seconds in other.seconds.items():
            self.seconds[kind] += seconds
        self.failed += other.failed


def requests(client: int) -> Iterator[tuple[str, str]]:
    """Kinds and words, without end; every client begins elsewhere."""
    for n in itertools.count(client):
        yield KINDS[n % len(KINDS)], WORDS[(n // len(KINDS) + client) % len(WORDS)]


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(file, "png")
    return file.getvalue()


PICTURE = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"


# ------------------------------------------------------------------ over HTTP


def body(kind: str, words: str) -> tuple[str, dict[str, Any]]:
    """Where a request goes, and what it says."""
    match kind:
        case "picture":
            return "/v1/images/generations", {"prompt": words, "stream": True, "partial_images": 1}
        case "sound":
            return "/v1/audio/speech", {"input": words, "response_format": "wav"}
        case "film":
            return "/v1/videos/generations", {"prompt": words, "output_format": "gif"}
    content = [{"type": "image_url", "image_url": {"url": PICTURE}}] if kind == "description" else words
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": content}], "stream": kind == "streamed text"}


async def ask(client: httpx2.AsyncClient, kind: str, words: str, load: Load) -> None:
    path, said = body(kind, words)
    start = time.perf_counter()
    answer = await client.post(path, json=said)
    if answer.status_code != 200:
        load.failed += 1
        return
    load.seconds[kind].append(time.perf_counter() - start)


def run_clients(url: str, numbers: list[int], until: float) -> Load:
    """In a process of its own: some clients, each of which asks for the next thing when it has the last."""
    load = Load()

    async def one(client: httpx2.AsyncClient, number: int) -> None:
        for kind, words in requests(number):
            if time.time() > until:
                return
            await ask(client, kind, words, load)

    async def all_of_them() -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=600, limits=httpx2.Limits(max_connections=None)) as client:
            await asyncio.gather(*(one(client, number) for number in numbers))

    asyncio.run(all_of_them())
    return load


def first_scales(url: str, pictures: int = 40) -> list[tuple[float, float]]:
    """Seconds until the first scale of a picture, and until its end."""
    found = []
    with httpx2.Client(base_url=url, timeout=60) as client:
        for n in range(pictures):
            asked = {"to": "image", "text": WORDS[n % len(WORDS)], "seed": str(n)}
            start, first = time.perf_counter(), 0.0
            with client.stream("POST", "/playground/answer", data=asked) as answer:
                for line in answer.iter_lines():
                    if not first and '"what":"picture"' in line:
                        first = time.perf_counter() - start
            found.append((first, time.perf_counter() - start))
    return found


def processor_seconds(process: int) -> float:
    """Of all its threads, so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def megabytes(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def groups(url: str) -> float:
    """That the model has chosen so far."""
    found = re.search(r"^ernest_groups_total ([\d.e+]+)$", httpx2.get(f"{url}/metrics").text, flags=re.MULTILINE)
    return float(found[1]) if found else 0.0


@dataclass(frozen=True)
class Served:
    rate: float
    """Groups per second of the server's processor time."""
    load: Load
    memory: tuple[float, float]
    """After the first quarter of the time, and at its end."""
    first_scales: list[tuple[float, float]]


def measure_server(checkpoint: Path, clients: int, seconds: float) -> Served:
    """The first quarter of the time warms up."""
    command = [sys.executable, "-m", "ernest", "serve", str(checkpoint), "--port", "0", "--rows", str(clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        while httpx2.get(f"{url}/healthz").status_code != 200:
            time.sleep(0.1)
        until = time.time() + seconds
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            parts = [pool.submit(run_clients, url, list(range(first, clients, 2)), until) for first in range(2)]
            time.sleep(seconds / 4)
            before, cpu, memory = groups(url), processor_seconds(process.pid), megabytes(process.pid)
            time.sleep(max(0.0, until - time.time()))
            done, spent = groups(url) - before, processor_seconds(process.pid) - cpu
            end = megabytes(process.pid)
            load = Load()
            for part in parts:
                load.add(part.result())
        alone = first_scales(url)
        process.send_signal(signal.SIGTERM)
    return Served(done / spent, load, (memory, end), alone)


# ------------------------------------------------------------------ the engine alone


def measure_engine(checkpoint: Path, clients: int, seconds: float) -> float:
    """Groups per second of processor time: the same requests, the next when one has ended; pictures and sounds are decoded. In
    one thread, as in the server, which takes less of it than several."""
    from ernest import device
    from ernest.data.examples import EncodedSegment
    from ernest.generation.answer import load_engine
    from ernest.generation.request import Request
    from ernest.sequence.record import Kind

    device.set_threads(1)
    engine = load_engine(checkpoint)
    engine.rows = clients
    pixels = np.asarray(Image.open(io.BytesIO(picture())))[None]
    to: dict[str, Kind] = {"picture": "image", "sound": "audio", "film": "video"}
    asked = [requests(client) for client in range(clients)]
    owner: dict[int, int] = {}

    def submit(client: int) -> None:
        kind, words = next(asked[client])
        seen = kind == "description"
        given = EncodedSegment("pixels", pixels, False) if seen else EncodedSegment("text", words, False)
        owner[engine.submit(Request((given,), (to.get(kind, "text"),), seed=len(owner)))] = client

    for client in range(clients):
        submit(client)
    start, done, mark = time.time(), 0, time.process_time()
    warm = False
    while time.time() < start + seconds:
        if not warm and time.time() > start + seconds / 4:
            warm, done, mark = True, 0, time.process_time()
        events = engine.step()
        done += sum(event.group != "end" for event in events)
        _decode(engine, [segment for event in events if event.answer for segment in event.answer.segments])
        for event in events:
            if event.answer:
                submit(owner[event.ticket])
    return done / (time.process_time() - mark)


def _decode(engine: "Engine", made: Sequence["MadeSegment"]) -> None:
    """Draws, plays and spells what was made in a step, as the server does."""
    engine.draw([segment.value for segment in made if segment.kind in ("image", "video")])
    engine.play([segment.value for segment in made if segment.kind == "audio"])
    for segment in made:
        if segment.kind == "text":
            engine.tokenizers.text.decode(segment.value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model.serving")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600, help="of the server; the engine alone gets a fifth twice")
    parser.add_argument("--json", type=Path, help="where the numbers are written as well")
    chosen = parser.parse_args()
    first = measure_engine(chosen.checkpoint, chosen.clients, chosen.seconds / 5)
    served = measure_server(chosen.checkpoint, chosen.clients, chosen.seconds)
    alone = median([first, measure_engine(chosen.checkpoint, chosen.clients, chosen.seconds / 5)])
    rows = {
        "groups per processor second, server": served.rate,
        "groups per processor second, engine alone": alone,
        "server / engine": served.rate / alone,
        "memory after a quarter, MiB": served.memory[0],
        "memory at the end, MiB": served.memory[1],
        "first scale of a picture, server idle, ms": 1e3 * median(first for first, _ in served.first_scales),
        "whole picture, ms": 1e3 * median(whole for _, whole in served.first_scales),
        "first scale / whole picture": median(first / whole for first, whole in served.first_scales),
        "answers": sum(map(len, served.load.seconds.values())),
        "failed": served.load.failed,
    }
    for kind, seconds in served.load.seconds.items():
        cuts = quantiles(seconds, n=20)
        rows |= {f"{kind}, p50 s": median(seconds), f"{kind}, p95 s": cuts[18]}
    print("\n".join(["| what | |", "|---|---|", *(f"| {name} | {value:.3g} |" for name, value in rows.items())]))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
