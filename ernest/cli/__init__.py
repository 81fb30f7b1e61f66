"""The command line: parses the arguments of `ernest`, calls one function of a room, prints what it returns."""

from ernest.cli.main import main

__all__ = ["main"]
