"""Training processes on one machine: started together, ended together, and never outliving the process that started them."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ernest.device import ALLOCATOR, module_command

PARENT, FAILURE, RENDEZVOUS = "ERNEST_PARENT", "ERNEST_FAILURE", "ERNEST_RENDEZVOUS"
"""Environment of a worker: the process that it must not outlive, the file in which it says why it failed, and the address at
which the workers find each other."""
PR_SET_PDEATHSIG = 1
MENDABLE, INTERRUPTED = 2, 130
"""Exit statuses of a worker: of what a user can mend, and after an interrupt."""
AFTERMATH = 10.0
"""Seconds that the other workers have to end by themselves after one has failed."""


def launch(module: str, arguments: Sequence[str], processes: int, threads: int = 1) -> None:
    """Runs `python -m module arguments` in `processes` processes of so many threads each, and waits until all have ended.

    When one fails, the others are ended too. Raises OSError with the worker's own line where a user can mend the reason (bad
    data, a full disk), RuntimeError with its traceback otherwise; an interrupt reaches the workers and is raised again.
    """
    with tempfile.TemporaryDirectory(prefix="ernest-") as folder:
        workers = [_start(module, arguments, rank, processes, threads, Path(folder)) for rank in range(processes)]
        try:
            failed = _wait(workers, Path(folder))
        except KeyboardInterrupt:
            for worker in workers:
                worker.wait()
            raise
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        if failed is None:
            return
        reason = _failure_file(Path(folder), failed)
        message = (
            reason.read_text(encoding="utf-8").strip()
            if reason.exists()
            else f"{module} ended with exit status {workers[failed].returncode}"
        )
        raise OSError(message) if workers[failed].returncode == MENDABLE else RuntimeError(message)


def _start(
    module: str, arguments: Sequence[str], rank: int, processes: int, threads: int, folder: Path
) -> subprocess.Popen[bytes]:
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": str(threads), "RANK": str(rank), "WORLD_SIZE": str(processes)}
    environment |= {RENDEZVOUS: f"file://{folder / 'rendezvous'}"}
    environment |= {PARENT: str(os.getpid()), FAILURE: str(_failure_file(folder, rank))}
    return subprocess.Popen(module_command(module, *arguments), env=environment)


def _failure_file(folder: Path, rank: int) -> Path:
    return folder / f"failure-{rank}"


def _wait(workers: Sequence[subprocess.Popen[bytes]], folder: Path) -> int | None:
    """The rank of the worker whose failure ended the run, or None where all ended well.

    A failure of one tears the connections of the others, which may end before it does; so they have a while to end too. Of those
    that have, the one that a user can mend comes first, then one that was killed, then the one that failed first.
    """
    until = None
    while True:
        status = [worker.poll() for worker in workers]
        failed = [rank for rank, code in enumerate(status) if code]
        if not failed and None not in status:
            return None
        if failed and until is None:
            until = time.monotonic() + AFTERMATH
        if until is not None and (MENDABLE in status or None not in status or time.monotonic() > until):
            return min(failed, key=lambda rank: (status[rank] != MENDABLE, _failed_at(_failure_file(folder, rank))))
        time.sleep(0.02)


def _failed_at(file: Path) -> float:
    """When a worker said why it failed; one that was killed says nothing, and nothing was before it."""
    return file.stat().st_mtime if file.exists() else 0.0


@contextmanager
def worker() -> Iterator[None]:
    """The context in which a process that `launch` started does its work: it ends with its parent, to which its failure is
    reported.

    Without effect in a process that something else has started.
    """
    if PARENT not in os.environ:
        yield
        return
    end_with_parent(int(os.environ[PARENT]))
    try:
        yield
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        Path(os.environ[FAILURE]).write_text(str(error), encoding="utf-8", errors="backslashreplace")
        os._exit(MENDABLE)
    except Exception:
        Path(os.environ[FAILURE]).write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        os._exit(1)


def end_with_parent(parent: int) -> None:
    """Ends this process when the process `parent`, which has started it, ends, however that comes about.

    On Linux the kernel sees to it; elsewhere a thread looks every half second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
