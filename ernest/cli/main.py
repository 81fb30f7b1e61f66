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
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import Suppress, arg, subcommand

from ernest.cli import lcnet, model, phasefield, refiner, results, rl, tokenizer, training
from ernest.cli.garbage import uncollected

_NARROWEST = 20
"""Columns of a terminal in which help and tables are written, at least."""


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
            said = re.sub(r"[\0-\x1f\x7f-\x9f]+", " ", str(error))  # names of files may hold whatever steers a terminal
            print(f"ernest: {said or type(error).__name__}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"\nernest: {_how_to_go_on(command, stop)}", file=sys.stderr)
        sys.exit(128 + _signal(stop))


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
    plain = {**training.COMMANDS, **rl.COMMANDS, **model.COMMANDS, **results.COMMANDS}
    later = {name: _postponed(command) for name, command in plain.items()}
    later["tokenizer"] = _group(tokenizer.COMMANDS, "Train tokenizers of text, pictures and sounds by themselves, and use them.")
    later["refiner"] = _group(refiner.COMMANDS, "Draw pictures larger and sharper than the model makes them.")
    later["phasefield"] = _group(phasefield.COMMANDS, "Follow phase fields and other gradient flows.")
    later["lcnet"] = _group(lcnet.COMMANDS, "Train, deploy and run PP-LCNet, a vision network for processors.")
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
            print(f"ernest: {_in_one_line(complaint.getvalue())}", file=sys.stderr)
        raise


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


def _in_one_line(box: str) -> str:
    """What the parser says in a box of several lines: its first part and where help is, without the help texts of options."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [line[2:].rstrip(" │") for line in plain.splitlines()[1:]]
    visible = "\n".join(row for row in rows if not row.startswith(" " * 8))
    parts = [part for part in re.split(r"^[─-]{3,}╯?$", visible, flags=re.MULTILINE) if part.strip()]
    help_of = re.findall(r"ernest(?: \w+)* --help", parts[-1])
    near = re.findall(r"Perhaps you meant:\n +(?:-\w, )?(--[\w-]+)", "\n".join(parts[1:]))
    message = " ".join(parts[0].replace("Unrecognized options:", "unknown:").replace("'command.", "'").split()).removesuffix(".")
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{message[:1].lower()}{message[1:]}{meant} (see {help_of[0] if help_of else 'ernest --help'})"
