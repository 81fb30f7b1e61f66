"""Turns what the parser says of wrong arguments, in a box of several lines, into one line."""

import difflib
import re
from collections.abc import Sequence

_NUMBERS = {
    "a whole number": r"invalid literal for int\(\) with base 10: ('.*?')(?: |$)",
    "a number": r"could not convert string to float: ('.*?')(?: |$)",
}
"""What was expected, and how Python complains of what is none, which the parser passes on."""


def in_one_line(box: str, command: str) -> str:
    """The first part of the box, the option or command that was meant, and where the help of the `command` is; without the help
    texts of options."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [line[2:].rstrip(" │") for line in plain.splitlines()[1:]]
    visible = "\n".join(row for row in rows if not row.startswith(" " * 8))
    parts = [part for part in re.split(r"^[─-]{3,}╯?$", visible, flags=re.MULTILINE) if part.strip()]
    message = " ".join(parts[0].replace("Unrecognized options:", "unknown:").replace("'command.", "'").split()).removesuffix(".")
    message = _of_a_number(message) or _without_none(message[:1].lower() + message[1:])
    unknown, near = _nearest(visible)
    meant = f"; did you mean {near}{'' if unknown in message else f' by {unknown}'}?" if near else ""
    return f"{message}{meant} (see {command} --help)"


def _of_a_number(message: str) -> str | None:
    """What is wrong with an option that takes a number, or several, if that is it."""
    option = re.match(r"Error parsing (\S+): ", message)
    for expected, complaint in _NUMBERS.items():
        if option and (given := re.search(complaint, message)):
            return f"{option[1]}: expected {expected}, got {given[1]}"
    several = re.search(r"no type matching \{None\}\|\{?([^}]+?)\}? could be instantiated from \[(.*?)\]", message)
    return f"{option[1]}: expected {several[1]}, got {several[2]}" if option and several else None


def _without_none(message: str) -> str:
    """The parser lists None among the choices of an argument that may be left out, and these in any order."""
    names = re.search(r"Expected one of \((.*'None'.*)\)", message)
    return message.replace(names[1], ", ".join(sorted(set(names[1].split(", ")) - {"'None'"}))) if names else message


def _nearest(box: str) -> tuple[str, str | None]:
    """The first unknown name of a box, and of the known ones the nearest to it."""
    unknown = re.search(r"Unrecognized options:\s+([^\s,]+)", box)
    if unknown is None:
        return "", None
    name = unknown[1].partition("=")[0]
    if name.startswith("-"):
        return name, _closest(name, re.findall(r"^ +(?:-\w, )?(--[\w-]+)", box.replace(unknown[0], ""), re.MULTILINE))
    names = re.search(r"Available subcommands: ([\w,\s-]+)", box)
    return name, _closest(name, names[1].replace(",", " ").split()) if names else None


def _closest(name: str, names: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)
