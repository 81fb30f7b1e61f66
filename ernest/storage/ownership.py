"""Gives a folder one owner at a time, by a lock that the system takes back when its process ends."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_owned: set[int] = set()


@contextmanager
def own_folder(path: str | Path, role: str = "owner", patience: float = 0.0) -> Iterator[None]:
    """Keeps `path` for this process; the system ends that with the process, however it ends. Child processes do not hold it.

    The lock lies beside the folder, which need not be there yet; a folder can have one process of each `role`. Raises
    ValueError, which says who has it, if another one has, after `patience` seconds. On Windows a folder is not kept.
    """
    path = Path(os.path.realpath(path))  # two links to a folder are one folder
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.{role}")
    until = time.monotonic() + patience
    while True:
        try:
            lock = _lock(file, path)
            break
        except ValueError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)
    if not _owned and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_disown)
    _owned.add(lock)
    try:
        command = " ".join(" ".join(sys.argv).split())[:200]
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()} ({command})".encode())
        yield
    finally:
        if lock in _owned:
            file.unlink(missing_ok=True)
            _owned.remove(lock)
            os.close(lock)
        for folder in missing:  # where nothing was written, nothing is left
            with suppress(OSError):
                folder.rmdir()


def _lock(file: Path, path: Path) -> int:
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            flock(lock, wait=False)
        except BlockingIOError:
            who = os.read(lock, 4096).decode(errors="replace") or "another process"
            os.close(lock)
            raise ValueError(f"{path} is in use by {who}; wait until it ends, or take another folder") from None
        if file.exists() and os.path.samestat(os.fstat(lock), file.stat()):
            os.ftruncate(lock, 0)
            return lock
        os.close(lock)  # its last owner removed it meanwhile


def _disown() -> None:
    """In a forked child: closes its copies, which would hold the locks beyond the parent's end."""
    while _owned:
        os.close(_owned.pop())


def flock(number: int, wait: bool = True) -> None:
    """Locks what is open until it is closed. Raises BlockingIOError where another process has it. Windows has no such lock."""
    if sys.platform == "win32":
        return
    import fcntl

    fcntl.flock(number, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
