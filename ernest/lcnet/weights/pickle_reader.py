"""Reads pickles of weights without running them: calls and names in the file become notes, never imports.

Here a pickle is only read. The instructions of the file build plain values; where it names a function or asks for a
call, the answer is a note of that wish (`Name`, `Call`). Whoever reads the notes decides what they mean, so nothing
that a file says is ever looked up, imported or run.
"""

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Name:
    """A function or class that the file names, such as `numpy.ndarray`; it stays a name."""

    path: str


@dataclass(frozen=True)
class Reference:
    """Something that the file keeps elsewhere, such as the storage of a tensor."""

    key: Any


@dataclass
class Call:
    """A call that the file asks for, with what it then puts into the result: dictionary items and a state."""

    function: str
    arguments: tuple[Any, ...]
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None

    __hash__ = object.__hash__  # an enumeration's member may be the key of a dictionary


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
"""Instructions that put their own argument on the stack."""

_MARK = object()


def read_pickle(data: bytes | BinaryIO, allowed: Collection[str] | None) -> Any:
    """The value that a pickle of protocol 2 to 5 describes, as dictionaries, lists, tuples, numbers, strings and notes.

    `allowed` are the names that the file may mention; None is for a training checkpoint, beside whose weights are objects of
    any class: all names are kept as notes then, and whoever takes weights from it refuses those among them.
    A file is read to the end of its first pickle. Raises ValueError for any other name, for an instruction that weights have
    no use for, and for a damaged file.
    """
    reader = _Reader(allowed)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return reader.pop()
            reader.step(opcode.name, argument)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        raise ValueError(f"damaged: {error!r}") from None
    raise ValueError("damaged: it ends too early")


def dictionary_of(value: Any) -> dict[str, Any]:
    """A dictionary with names for keys, plain or ordered. Raises ValueError for anything else."""
    if isinstance(value, Call) and value.function == "collections.OrderedDict" and not value.arguments:
        value = value.items
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("expected a dictionary of tensors by name")
    return dict(value)


def check_sizes(name: str, sizes: Any) -> None:
    if not isinstance(sizes, tuple) or not all(type(size) is int and 0 <= size < 2**31 for size in sizes):
        raise ValueError(f"{name}: expected sizes, got {sizes}")


def refusal(path: str) -> str:
    return f"refused: it asks for {path}, which weights have no use for"


class _Reader:
    """The stack and the memory of one reading."""

    def __init__(self, allowed: Collection[str] | None) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.steps: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self.stack.append(_MARK),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "EMPTY_SET": lambda _: self.stack.append(Call("builtins.set", ())),
            "FROZENSET": lambda _: self.stack.append(Call("builtins.frozenset", (self.since_mark(),))),
            "TUPLE": lambda _: self.stack.append(tuple(self.since_mark())),
            "TUPLE1": lambda _: self.join(1),
            "TUPLE2": lambda _: self.join(2),
            "TUPLE3": lambda _: self.join(3),
            "APPEND": lambda _: self.extend([self.pop()]),
            "APPENDS": lambda _: self.extend(self.since_mark()),
            "ADDITEMS": lambda _: self.extend(self.since_mark()),
            "SETITEM": lambda _: self.update([self.pop(), self.pop()][::-1]),
            "SETITEMS": lambda _: self.update(self.since_mark()),
            "GLOBAL": lambda argument: self.name(*argument.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self.name(*[self.pop(), self.pop()][::-1]),
            "REDUCE": lambda _: self.call(),
            "NEWOBJ": lambda _: self.call(),
            "NEWOBJ_EX": lambda _: self.call(self.pop()),
            "BUILD": lambda _: self.build(),
            "BINPERSID": lambda _: self.stack.append(Reference(self.pop())),
            "MEMOIZE": lambda _: self.remember(len(self.memory)),
            "BINPUT": self.remember,
            "LONG_BINPUT": self.remember,
            "BINGET": lambda index: self.stack.append(self.memory[index]),
            "LONG_BINGET": lambda index: self.stack.append(self.memory[index]),
        }

    def step(self, instruction: str, argument: Any) -> None:
        if instruction in LITERALS:
            self.stack.append(argument)
        elif instruction in CONSTANTS:
            self.stack.append(CONSTANTS[instruction])
        elif instruction in self.steps:
            self.steps[instruction](argument)
        elif instruction not in ("PROTO", "FRAME"):
            raise ValueError(f"refused: weights need no pickle instruction {instruction}")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("damaged: a value is missing")
        return value

    def since_mark(self) -> list[Any]:
        index = len(self.stack) - 1
        while self.stack[index] is not _MARK:
            index -= 1
        values = self.stack[index + 1 :]
        del self.stack[index:]
        return values

    def join(self, count: int) -> None:
        self.stack.append(tuple([self.pop() for _ in range(count)][::-1]))

    def remember(self, index: int) -> None:
        self.memory[index] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Call):  # elements of an object, such as a deque or a set: no weights
            raise ValueError("damaged: list elements for something else")

    def update(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        items = target.items if isinstance(target, Call) else target
        if not isinstance(items, dict):
            raise ValueError("damaged: dictionary items for something else")
        items.update(zip(flat[::2], flat[1::2], strict=True))

    def name(self, module: str, name: str) -> None:
        path = f"{module}.{name}"
        if self.allowed is not None and path not in self.allowed:
            raise ValueError(refusal(path))
        self.stack.append(Name(path))

    def call(self, *keywords: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if isinstance(function, Reference) and isinstance(function.key, tuple) and function.key[:1] == ("module",):
            function = function.key[1]  # a class, of which torch kept the source text, too
        if isinstance(function, Call) and self.allowed is None:
            function = Name(function.function)  # such as functools.partial, by which older protocols give keywords
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("refused: it calls something that it has made itself")
        self.stack.append(Call(function.path, (*arguments, *keywords)))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if not isinstance(target, Call):
            raise ValueError("refused: it changes something that is no object of its own")
        target.state = state
