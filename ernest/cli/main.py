"""Runs the command that the arguments name, and turns a mistake into one line."""

import atexit
import functools
import gc
import os
import re
import signal
import sys
from collections.abc import Callable

from ernest.cli import lcnet, refiner, results, rl, tokenizer, training
from ernest.cli.garbage import uncollected
from ernest.cli.parsing import parse
from ernest.cli.streams import is_read, open_streams, widen_terminal


def main() -> None:
    """Runs a command. What a user can mend is one line on stderr, and exit status 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    widen_terminal()
    open_streams()
    atexit.register(gc.freeze)  # else all that PyTorch has made is looked through once more, for nothing, at the end
    try:
        _run()
    finally:
        if not is_read():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + 13)  # SIGPIPE, which Windows has no name for


def _run() -> None:
    if sys.argv[1:] == ["--version"]:
        print(version())
        return
    with uncollected():
        command = parse()
    try:
        command()
        sys.stdout.flush()  # while what cannot be written can still be told
    except (ValueError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        if not isinstance(error, BrokenPipeError) or is_read():
            said = re.sub(r"[\0-\x1f\x7f-\x9f]+", " ", _words(error))  # names of files may hold whatever steers a terminal
            print(f"ernest: {said}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:  # PyTorch's, which has a word of its own for memory that is not there
        asked = re.search(r"tried to allocate ([\d.]+ ?\w+)", str(error), re.IGNORECASE)
        if asked is None:
            raise
        print(f"ernest: not enough memory: {asked[1]} more were asked for", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"\nernest: {_how_to_go_on(command, stop)}", file=sys.stderr)
        sys.exit(128 + _signal(stop))


def _words(error: Exception) -> str:
    """What a mistake says; one that the system tells, with the file's name and without a number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


def _how_to_go_on(command: Callable[[], None], stop: KeyboardInterrupt) -> str:
    """What an interrupted command says: its own words if it has some, else whether it goes on where it stopped."""
    if stop.args and isinstance(stop.args[0], str):
        return stop.args[0]
    resumed = {
        training.demo: "ernest demo",
        training.prepare: "ernest prepare",
        training.train: "ernest train",
        rl.rl: "ernest rl",
        lcnet.train: "ernest lcnet train",
        tokenizer.train: "ernest tokenizer train",
        refiner.train: "ernest refiner train",
        results.results: "ernest results",
    }
    name = resumed.get(command.func) if isinstance(command, functools.partial) else None
    return "interrupted" if name is None else f"interrupted; the same `{name}` goes on where it stopped"


def _signal(stop: BaseException | None) -> int:
    """The number of the signal that interrupted a command: SIGINT, unless the interruption or what it came from names another."""
    while stop is not None:
        if stop.args and isinstance(stop.args[0], int):
            return stop.args[0]
        stop = stop.__cause__
    return signal.SIGINT


def version() -> str:
    """The versions of Ernest, Python and torch, and the system: what a report of a bug must say. Imports no torch."""
    import platform
    from importlib import metadata

    from ernest import __version__

    return f"ernest {__version__}, Python {platform.python_version()}, torch {metadata.version('torch')}, {platform.platform()}"
