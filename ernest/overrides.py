"""Frozen dataclasses from a TOML file and overrides such as `training.steps=100`, checked field by field."""

import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class FieldError(ValueError):
    """A field that a file or an override gets wrong, in one line, with the parts of that line for who words it otherwise.

    `field` is the dotted name; for a wrong value `expected` and `value`, for an unknown name `known` and the `nearest` of them.
    """

    def __init__(self, message: str, field: str, value: Any = None, expected: str = "", known: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.field, self.value, self.expected, self.known = field, value, expected, tuple(known)
        self.nearest = next(iter(difflib.get_close_matches(field.rpartition(".")[2], self.known, n=1)), None)


def read_tree(path: str | Path | None = None, overrides: Sequence[str] = (), named: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a TOML file as dictionaries, with overrides put in. Raises ValueError that names the file or the override.

    In the tables of `named` an override's field is a name of the user's own, dots included; quotes may stand around it.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        except ValueError as error:  # no TOML, or no text at all
            raise ValueError(f"{path}: {error}") from error
    for override in overrides:
        _put(tree, override, named)
    return tree


def _put(tree: dict[str, Any], override: str, named: Sequence[str]) -> None:
    table = override.partition(".")[0].strip()
    split = override.rpartition if table in named else override.partition  # a name may hold the sign, the value of one never does
    name, equals, text = (part.strip() for part in split("="))
    if not equals:
        message = f"override {override!r}: write it as field=value, for example training.steps=100"
        raise FieldError(message, "", override, "field=value")
    *path, last = (table, _unquoted(name.partition(".")[2].strip())) if table in named else name.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ValueError(f"override {override!r}: {part} = {tree!r} is a value and has no fields")
    try:
        tree[last] = json.loads(text)
    except (ValueError, RecursionError):
        tree[last] = text


def _unquoted(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def build(kind: Any, value: Any, where: str = "") -> Any:
    """`value`, as a file holds it, as the annotation `kind`: a dataclass, dict, tuple, Literal, union or plain type.

    Raises FieldError, which names the field by its dotted name below `where`.
    """
    kinds = get_args(kind)
    if is_dataclass(kind) or get_origin(kind) is dict:
        return _build_table(kind, value, where)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        each = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        if len(each) == len(value):
            return tuple(build(one, entry, where) for one, entry in zip(each, value, strict=True))
    if get_origin(kind) is Literal:
        for choice in (value, str(value)):  # in a shell `strides=32` is a number
            if any(type(choice) is type(one) and choice == one for one in kinds):
                return choice
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        for one in sorted(kinds, key=lambda one: one is not type(value)):  # an exact type before one to convert to
            with suppress(FieldError):
                return build(one, value, where)
    if type(value) is float and not math.isfinite(value):
        raise FieldError(f"{where} = {value!r}: expected a finite number", where, value, _name(kind))
    if kind is float and type(value) is int:
        with suppress(OverflowError):
            return float(value)
    if type(value) is not kind:
        expected = _name(kind)
        message = f"{where} = {value!r}: expected {expected.removesuffix(' or nothing')}, got {type(value).__name__}"
        raise FieldError(message, where, value, expected)
    return value


def check_names(value: Mapping[str, Any], known: Sequence[str], where: str = "") -> None:
    """Raises FieldError for the first name of a table that is none of the fields `known`."""
    for name in value:
        if name not in known:
            field, nearest = f"{where}.{name}" if where else name, FieldError("", name, known=known).nearest
            hint = f"did you mean {nearest!r}?" if nearest else f"the fields are {', '.join(known)}"
            raise FieldError(f"unknown field {field!r}; {hint}", field, known=known)


def _build_table(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise FieldError(f"{where}: expected a table, got {value!r}", where, value, "a table")
    below = {name: f"{where}.{name}" if where else name for name in value}
    if not is_dataclass(kind):
        for name, entry in value.items():
            if isinstance(entry, Mapping) and entry and not is_dataclass(get_args(kind)[1]):
                quoted = f'"{name}.{next(iter(entry))}"'
                raise FieldError(
                    f"{where}: expected a name and its value; a name with a dot stands in quotes, {quoted}", where, value
                )
        return {name: build(get_args(kind)[1], entry, below[name]) for name, entry in value.items()}
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.init]
    check_names(value, known, where)
    return kind(**{name: build(hints[name], entry, below[name]) for name, entry in value.items()})  # type: ignore[operator]


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        fixed = get_args(kind)[-1] is not ...
        return f"a list of {len(get_args(kind))}" if fixed else "a list"
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return " or ".join(map(_name, sorted(get_args(kind), key=lambda one: one is NoneType)))
    return "nothing" if kind is NoneType else getattr(kind, "__name__", str(kind))


def check_least(config: object, table: str, **least: float) -> None:
    """Raises ValueError that names the field where one of a recipe's `table` lies below its least value."""
    for name, bound in least.items():
        if getattr(config, name) < bound:
            raise ValueError(f"{table}.{name} = {getattr(config, name)} must be at least {bound}")


def check_positive(config: object, table: str, *names: str) -> None:
    """Raises ValueError that names the field where one of a recipe's `table` is not more than 0."""
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{table}.{name} = {getattr(config, name)} must be more than 0")
