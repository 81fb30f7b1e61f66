"""Asks an HTTP endpoint for verdicts: what is sent, what must come back, and what is tried again.

Sent is `{"task", "facts", "given", "output"}`, in JSON; `given` and `output` are lists of segments. A text is
`{"kind": "text", "text": ...}`; a picture, film or sound `{"kind", "dtype", "shape", "data"}` with its numbers as base64, row by
row. What must come back is `{"score", "passed"}`, with `reason` and `parts` if it likes.
"""

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from ernest.sequence.record import Record, Segment
from ernest.verifiers.verdict import Verdict, Verifier, VerifierFailed, one_line, plain_verdict

LARGEST_ANSWER = 1 << 20
"""Bytes: what answers more is no verdict."""
FIRST_WAIT = 0.1
"""Seconds before the first repetition; each further one waits twice as long."""


class _Again(Exception):
    """A failure that may not come back: nobody there, no time, the server's own fault."""


def is_endpoint(name: str) -> bool:
    """Whether the name of a verifier is an address."""
    return name.startswith(("http://", "https://"))


def check_endpoint(url: str, timeout: float) -> None:
    """Raises ValueError, one line, for an address that is none, and for one where nobody listens."""
    parts = _split(url)
    try:
        with socket.create_connection((parts.hostname, _port(parts)), timeout):
            pass
    except OSError as error:
        raise ValueError(f"verifier {url!r}: nobody listens there ({one_line(error)})") from error


def endpoint_verifier(url: str, timeout: float, retries: int) -> Verifier:
    """A verifier that asks `url`, each time for `timeout` seconds at most, and `retries` times more where nobody answers, time is
    up, or the status is 429 or from 500 on. An answer that is no verdict, and any other status, fails at once."""
    parts = _split(url)

    def verify(record: Record, output: Sequence[Segment]) -> Verdict:
        body, reason = question(record, output), ""
        for attempt in range(retries + 1):
            try:
                return read_answer(_post(parts, body, timeout))
            except _Again as error:
                reason = str(error)
                if attempt < retries:
                    time.sleep(FIRST_WAIT * 2**attempt)
            except ValueError as error:
                raise VerifierFailed(f"{url}: {one_line(error)}") from error
        raise VerifierFailed(f"{url}: {reason}, asked {retries + 1} times")

    return verify


def question(record: Record, output: Sequence[Segment]) -> bytes:
    """What is sent. Facts that JSON has no word for go as their text."""
    given = [_told(segment) for segment in record.segments if not segment.made]
    tree = {"task": record.task, "facts": dict(record.facts), "given": given, "output": [_told(one) for one in output]}
    return json.dumps(tree, default=_plain).encode()


def read_answer(body: bytes) -> Verdict:
    """The verdict of what came back. Raises ValueError where it is none."""
    try:
        tree = json.loads(body)
    except ValueError as error:
        raise ValueError(f"expected a verdict in JSON, got {body[:60]!r}") from error
    if not isinstance(tree, dict) or not {"score", "passed"} <= tree.keys():
        raise ValueError(f"expected an object with score and passed, got {body[:60]!r}")
    return plain_verdict(Verdict(tree["score"], tree["passed"], tree.get("reason", ""), tree.get("parts", {})))


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    with suppress(ValueError):  # of a port that is no number
        if parts.scheme in ("http", "https") and parts.hostname and _port(parts):
            return parts
    raise ValueError(f"verifier {url!r}: write http://host:port/path")


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _post(parts: SplitResult, body: bytes, timeout: float) -> bytes:
    """The body of an answer with status 200. `timeout` is of the whole exchange: one that trickles is cut as well."""
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", _port(parts), timeout=timeout)
    is_over, timer = threading.Event(), None
    try:
        connection.connect()
        timer = _cut_after(timeout, connection.sock, is_over)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, {"Content-Type": "application/json", "Connection": "close"})
        with connection.getresponse() as response:
            answer = response.read(LARGEST_ANSWER + 1)
        if is_over.is_set():
            raise TimeoutError
    except (OSError, http.client.HTTPException) as error:
        is_late = is_over.is_set() or isinstance(error, TimeoutError)
        raise _Again(f"no answer in {timeout:g} s" if is_late else one_line(error)) from error
    finally:
        if timer is not None:
            timer.cancel()
        connection.close()
    if response.status == 429 or response.status >= 500:
        raise _Again(f"status {response.status}")
    if response.status != 200:
        raise ValueError(f"status {response.status}")
    if len(answer) > LARGEST_ANSWER:
        raise ValueError(f"its answer exceeds {LARGEST_ANSWER:,} bytes")
    return answer


def _cut_after(seconds: float, sock: socket.socket, is_over: threading.Event) -> threading.Timer:
    """A running timer that ends all reading from a socket, whose own time limit is that of a single read."""

    def cut() -> None:
        is_over.set()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    return timer


def _told(segment: Segment) -> dict[str, Any]:
    if segment.kind == "text":
        return {"kind": "text", "text": segment.data}
    data = np.ascontiguousarray(segment.data)
    return {
        "kind": segment.kind,
        "dtype": str(data.dtype),
        "shape": list(data.shape),
        "data": base64.b64encode(data.tobytes()).decode(),
    }


def _plain(value: object) -> Any:
    """What JSON has no word for: numbers and arrays of numpy as lists, anything else as its text."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
