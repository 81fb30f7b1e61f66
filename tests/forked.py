"""Processes of tests without the seconds in which each imports PyTorch: forked from one that has, and has done nothing else."""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PRELOADED = ("torch._dynamo", "ernest.training.pretrain", "ernest.rl.loop", "tests.small")
"""An optimiser imports PyTorch's compiler when it is made, which takes as long as all else."""
FORK, FORKSERVER = multiprocessing.get_context("fork"), multiprocessing.get_context("forkserver")


class LikePopen(BaseProcess):
    """A process of multiprocessing, as a `subprocess.Popen` to those who wait for it."""

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode

    returncode = property(poll)


class Forked(LikePopen, FORKSERVER.Process):
    """A process that has begun to call a function."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        FORKSERVER.set_forkserver_preload([*PRELOADED])
        super().__init__(target=function, args=arguments)
        self.start()


class _Worker(LikePopen, FORK.Process):
    """A command `python -m module arguments`, forked from the process that asks for it."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        super().__init__(target=run_module, args=(command[2:], env))
        self.start()


def run_module(words: Sequence[str], environment: dict[str, str]) -> None:
    """In a forked process: what `python -m` does with these words."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [*words]
    sys.modules.pop(words[0], None)  # it was imported before, under its own name
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def launch_here(module: str, arguments: Sequence[str], processes: int, said: str | Path = os.devnull) -> None:
    """In a forked process, which gets a session of its own: launches workers as Ernest does, but for how they begin.

    What all of them print goes to a file.
    """
    from ernest.training import launch

    os.setsid()
    with open(said, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    launch.subprocess = SimpleNamespace(Popen=_Worker)
    launch.launch(module, arguments, processes)


def launch(module: str, arguments: Sequence[str], processes: int) -> None:
    """Waits until all have ended, well."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        assert Forked(launch_here, module, arguments, processes, said).wait() == 0, said.read_text()
