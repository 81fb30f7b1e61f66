"""Reads the arguments: from the words of a command line to the command that they name, ready to be called."""

import functools
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from tyro.conf import Suppress, arg, subcommand

from ernest.cli import lcnet, model, phasefield, planner, refiner, results, rl, tokenizer, training
from ernest.cli.mistakes import in_one_line

PLAIN = {**training.COMMANDS, **planner.COMMANDS, **rl.COMMANDS, **model.COMMANDS, **results.COMMANDS}
GROUPS = {
    "tokenizer": (tokenizer.COMMANDS, "Train tokenizers of text, pictures and sounds by themselves, and use them."),
    "refiner": (refiner.COMMANDS, "Draw pictures larger and sharper than the model makes them."),
    "phasefield": (phasefield.COMMANDS, "Follow phase fields and other gradient flows."),
    "lcnet": (lcnet.COMMANDS, "Train, deploy and run PP-LCNet, a vision network for processors."),
}


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
