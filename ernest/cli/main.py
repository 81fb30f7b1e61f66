"""Reads the arguments, runs the command that they name, and turns a mistake into one line."""

import atexit
import functools
import gc
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import Suppress, arg, subcommand

from ernest.cli import lcnet, model, phasefield, planner, refiner, results, rl, tokenizer, training
from ernest.cli.garbage import uncollected
from ernest.cli.mistakes import in_one_line

_NARROWEST = 20
"""Columns of a terminal in which help and tables are written, at least."""


PLAIN = {**training.COMMANDS, **planner.COMMANDS, **rl.COMMANDS, **model.COMMANDS, **results.COMMANDS}
GROUPS = {
    "tokenizer": (tokenizer.COMMANDS, "Train tokenizers of text, pictures and sounds by themselves, and use them."),
    "refiner": (refiner.COMMANDS, "Draw pictures larger and sharper than the model makes them."),
    "phasefield": (phasefield.COMMANDS, "Follow phase fields and other gradient flows."),
    "lcnet": (lcnet.COMMANDS, "Train, deploy and run PP-LCNet, a vision network for processors."),
}


def main() -> None:
    """Runs a command. What a user can mend is one line on stderr, and exit status 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ.get("COLUMNS", "").isdigit():  # the parser wraps its help for ever in two columns
        os.environ["COLUMNS"] = str(max(_NARROWEST, int(os.environ["COLUMNS"])))
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal lacks ends no command
    atexit.register(gc.freeze)  # else all that PyTorch has made is looked through once more, for nothing, at the end
    try:
        _run()
    finally:
        if not _is_read():
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
        if not isinstance(error, BrokenPipeError) or _is_read():
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


def _is_read() -> bool:
    """Whether somebody takes what is printed; `| head` ends when it has read enough."""
    try:
        sys.stdout.flush()
        number = sys.stdout.fileno()
    except BrokenPipeError:
        return False
    except OSError:  # a stream without a number, of a program that calls this one
        return True
    if not hasattr(select, "poll"):
        return True
    ends = select.poll()
    ends.register(number, 0)
    return not any(event & select.POLLERR for _, event in ends.poll(0))


def _open_streams() -> None:
    """Gives a process that was started with closed streams some that lead nowhere: else the next file that is opened takes their
    numbers, is printed into, and goes to the processes that are started."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        stream = open(os.devnull, "w" if number else "r", encoding="utf-8")  # noqa: SIM115
        with suppress(OSError):
            os.set_inheritable(stream.fileno(), stream.fileno() == number)
        setattr(sys, name, stream)


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


def parse() -> Callable[[], None]:
    """The command that the arguments name, ready to be called. Exits with status 2 where they name none."""
    later = {name: _postponed(command) for name, command in PLAIN.items()}
    later |= {name: _group(commands, purpose) for name, (commands, purpose) in GROUPS.items()}
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                later,
                prog="ernest",
                description="One small model over text, image, video and audio; the physics of its world. "
                "`ernest --version` says which versions run, and where.",
            )
    except SystemExit as end:
        if end.code:
            print(f"ernest: {in_one_line(complaint.getvalue(), _command(sys.argv[1:]))}", file=sys.stderr)
        raise


def _command(words: Sequence[str]) -> str:
    """The command that the arguments begin with, as far as there is one."""
    first, second = [*words, "", ""][:2]
    inside = GROUPS[first][0] if first in GROUPS else {}
    return " ".join(["ernest", *([first] if first in PLAIN or inside else []), *([second] if second in inside else [])])


def _postponed(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    @functools.wraps(command)
    def parsed(*args: object, **kwargs: object) -> Callable[[], None]:
        return functools.partial(command, *map(_at_home, args), **{name: _at_home(value) for name, value in kwargs.items()})

    return parsed


def _at_home(value: object) -> object:
    """A path from ~ on, which no shell has resolved in `--out=~/run`; unless a folder of that name is here."""
    if isinstance(value, tuple):
        return tuple(map(_at_home, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _at_home(getattr(value, each.name)) for each in fields(value)})
    is_home = isinstance(value, Path) and value.parts[:1] == ("~",) and not os.path.lexists("~")
    return value.expanduser() if is_home and isinstance(value, Path) else value


def _group(commands: Mapping[str, Callable[..., None]], description: str) -> Callable[..., Callable[[], None]]:
    """A command whose one argument is the name of one of `commands`, followed by that one's own arguments."""

    def parsed(command: Callable[[], None]) -> Callable[[], None]:
        return command

    inside = [Annotated[Any, subcommand(name=name, constructor=_postponed(one))] for name, one in commands.items()]
    # A choice of one would be no choice to the parser; the hidden None makes it one.
    parsed.__annotations__["command"] = Annotated[Union[(*inside, Annotated[None, Suppress])], arg(name="")]
    parsed.__doc__ = description
    return parsed
