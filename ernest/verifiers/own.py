"""Verifiers that a user brings: a Python function, which runs in a process of its own, or an HTTP endpoint.

The function has the interface of all verifiers, `(record, segments) -> Verdict`; the endpoint is asked in JSON
(`ernest.verifiers.endpoint`). One that raises, hangs or answers nonsense raises `VerifierFailed`, whose message is one line.
"""

import importlib
import importlib.util
import inspect
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from ernest.device import module_command
from ernest.sequence.record import Record, Segment
from ernest.verifiers.endpoint import check_endpoint, endpoint_verifier, is_endpoint
from ernest.verifiers.verdict import Verdict, Verifier, VerifierFailed

START_SECONDS = 120.0
"""The longest that the file of a function may take to be imported: it may load a network of its own."""
_FUNCTION = re.compile(r"(.+\.py|[^\W\d]\w*(\.[^\W\d]\w*)*):[^\W\d]\w*")


def is_own(name: str) -> bool:
    """Whether a recipe's name of a verifier is that of a user's own."""
    return ":" in name


def own_verifier(name: str, timeout: float, retries: int) -> Verifier:
    """The verifier `module:function`, `file.py:function` or `http://...`, whose call takes `timeout` seconds at most.

    Raises ValueError, one line, for a name that is none, a function that is not there, and an endpoint where nobody listens.
    """
    if is_endpoint(name):
        check_endpoint(name, timeout)
        return endpoint_verifier(name, timeout, retries)
    if not _FUNCTION.fullmatch(name):
        raise ValueError(f"verifier {name!r}: write module:function, file.py:function or http://host:port/path")
    return _OwnProcess(name, timeout)


class _OwnProcess:
    """A function in a process of its own. It is killed when a call hangs, and begins anew with the next call."""

    def __init__(self, name: str, timeout: float) -> None:
        self.name, self.timeout, self.lock = name, timeout, threading.Lock()
        self.fingerprint: str | None = None
        """Of the function's file, as it was first read."""
        fault = self._start()
        if fault is not None:
            raise ValueError(f"verifier {name!r}: {fault}")

    def __call__(self, record: Record, output: Sequence[Segment]) -> Verdict:
        with self.lock:  # one question at a time
            answer = (None if self.stop.alive else self._start()) or self._ask(record, output)
        if isinstance(answer, Verdict):
            return answer
        raise VerifierFailed(f"{self.name}: {answer}")

    def _ask(self, record: Record, output: Sequence[Segment]) -> Verdict | str:
        """Its verdict, or what went wrong; a process that gave neither is ended."""
        is_in_step = False
        try:
            self.connection.send((record, tuple(output)))
            if not self.connection.poll(self.timeout):
                return f"took longer than {self.timeout:g} s"
            answer = self.connection.recv()
            is_in_step = True
            return answer
        except (EOFError, ConnectionError):
            return "its process ended"
        finally:
            if not is_in_step:
                self.stop()

    def _start(self) -> str | None:
        """Starts the process; what was wrong, if anything."""
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        with theirs:
            command = module_command("ernest.verifiers.worker", self.name, str(theirs.fileno()))
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True, env=_environment()
            )
        self.stop = weakref.finalize(self, _stop, process, self.connection)
        try:
            ready = self.connection.poll(START_SECONDS)
            fault, read = self.connection.recv() if ready else (f"no sign of it in {START_SECONDS:g} s", None)
        except EOFError:
            fault, read = "its process ended while it was imported", None
        if fault is None and self.fingerprint not in (None, read):
            fault = "its file has changed since the run began"
        self.fingerprint = self.fingerprint or read
        if fault is not None:
            self.stop()
        return fault


def _environment() -> dict[str, str]:
    """One thread: the cores are the trainer's."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def _stop(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    """Ends a process and those that it started, whatever they do."""
    connection.close()
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def source_file(name: str) -> Path:
    """The file of a function that `load_function` has loaded."""
    source = name.rpartition(":")[0]
    return Path(source).expanduser() if source.endswith(".py") else Path(str(sys.modules[source].__file__))


def load_function(name: str) -> Verifier:
    """The function `module:function` or `file.py:function`; a file finds the modules that lie beside it.

    Raises ValueError for one that is not there, and whatever the import raises.
    """
    source, _, function = name.rpartition(":")
    if source.endswith(".py"):
        path = Path(source).expanduser()
        if not path.is_file():
            raise ValueError(f"there is no file {source}")
        sys.path.append(str(path.parent.resolve()))
        spec = importlib.util.spec_from_file_location(f"verifier_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(source)
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{source} has no function {function}")
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__):
        raise ValueError(f"{function} is async: write a plain function that returns a Verdict")
    return cast(Verifier, found)
