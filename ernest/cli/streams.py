"""The streams that a command reads and writes: that they are there, take every letter and some width, and that somebody reads."""

import io
import os
import select
import sys
from contextlib import suppress

_NARROWEST = 20
"""Columns of a terminal in which help and tables are written."""


def is_read() -> bool:
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


def open_streams() -> None:
    """Gives a process that was started with closed streams some that lead nowhere: else the next file that is opened takes their
    numbers, is printed into, and goes to the processes that are started. A letter that the terminal lacks ends no command."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        stream = open(os.devnull, "w" if number else "r", encoding="utf-8")  # noqa: SIM115
        with suppress(OSError):
            os.set_inheritable(stream.fileno(), stream.fileno() == number)
        setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def widen_terminal() -> None:
    """Has help written in some columns at least: the parser would wrap it for ever in two."""
    if os.environ.get("COLUMNS", "").isdigit():
        os.environ["COLUMNS"] = str(max(_NARROWEST, int(os.environ["COLUMNS"])))
