"""Reads manifests of pictures and labels: CSV as people and spreadsheets write it, TSV, and one JSON object a line."""

import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ernest.lcnet.image_io.find import printable

MANIFESTS = frozenset({".csv", ".tsv", ".jsonl"})
FILE_COLUMNS = (
    *("file", "filename", "file_name", "filepath", "file_path", "path"),
    *("image", "image_path", "image_name", "img", "img_path"),
)
LABEL_COLUMNS = ("label", "class", "category", "target", "class_name", "label_name", "labels", "tags", "class_id")
PART_COLUMNS = ("split", "subset", "set", "partition")
WHOLE = re.compile(r"([+-]?[0-9]+)(?:\.0+)?")
SEPARATORS = ",;\t|"
EXCEL = re.compile(r"\A\s*\"?sep=.\"?\r?\n")
"""A line for Excel before the header, which names the separator; the header shows it too."""


@dataclass(frozen=True)
class Row:
    """A picture of a manifest, its labels, and the part of the data that it belongs to, as it is written; empty if it is not."""

    file: Path
    labels: tuple[str, ...]
    part: str


def read_manifest(path: Path, separator: str = "", known: Collection[str] | None = None) -> list[Row]:
    """The pictures with one label each, or with a `separator` any number. Files are relative to the folder of the manifest;
    blanks around names are taken off. Where all labels are whole numbers, or a label is a number of the `known` ones, 1.0 is
    class 1: a table with an empty cell turns whole numbers into such.

    A header is needed: without one, a first picture could be taken for names of columns. Raises ValueError, which names the
    line: no header, no label, several of them, more cells than columns, files that are missing or listed twice.
    """
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path}: no lines")
    found = [_row(path, line, row, separator) for line, row in rows]
    missing = [(line, row.file) for (line, _), row in zip(rows, found, strict=True) if not os.path.isfile(row.file)]
    if missing:
        line, file = missing[0]
        raise ValueError(f"{path}, line {line}: {printable(str(file))} is no file, one of {len(missing)} that are missing")
    twice = next((file for file, count in Counter(row.file for row in found).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: {twice} is listed more than once")
    short = _short_numbers({label for row in found for label in row.labels}, known)
    return [replace(row, labels=tuple(dict.fromkeys(short.get(label, label) for label in row.labels))) for row in found]


def _short_numbers(labels: Collection[str], known: Collection[str] | None) -> dict[str, str]:
    """For labels such as 1.0 the whole numbers that they are: of `known` ones, or where no label is anything else."""
    short = {label: match[1] for label in labels if (match := WHOLE.fullmatch(label))}
    if known is None:
        return short if len(short) == len(labels) else {}
    return {label: number for label, number in short.items() if label not in known and number in known}


def split_labels(text: str, separator: str) -> tuple[str, ...]:
    """The label, or with a `separator` the labels, each once, of a name or a cell."""
    several = [clean_label(part) for part in text.split(separator)] if separator else [clean_label(text)]
    return tuple(dict.fromkeys(part for part in several if part))


def clean_label(text: str) -> str:
    """A class's name in one spelling: no blanks around it, accents composed, nothing that text cannot hold."""
    return unicodedata.normalize("NFC", printable(text)).strip()


def _row(path: Path, line: int, row: Mapping[str, Any], separator: str) -> Row:
    file = next((row[name] for name in FILE_COLUMNS if name in row), None)
    label = next((row[name] for name in LABEL_COLUMNS if name in row), None)
    name, labels = _text(file), _labels(path, line, label, separator)
    has_column = any(column in row for column in LABEL_COLUMNS)
    if not name or not (labels or (separator and has_column)):
        lacking = "label" if name else "file"
        raise ValueError(f"{path}, line {line}: no {lacking}; the columns are to be called file and label")
    part = next((row[name] for name in PART_COLUMNS if name in row), None)
    return Row(_spelled(path.parent, name), labels, _text(part))


def _spelled(folder: Path, name: str) -> Path:
    """The file of that name, which may be written as on Windows, or with its accents composed where the file's are not."""
    for text in (name, name.replace("\\", "/")):
        for spelling in (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))):
            if os.path.isfile(folder / spelling):
                return folder / spelling
    return folder / name


def _labels(path: Path, line: int, value: Any, separator: str) -> tuple[str, ...]:
    """Labels of text or whole numbers, or a list of them; without a `separator` just one."""
    values = value if isinstance(value, list) else [value]
    if len(values) > 1 and not separator:
        hint = "where pictures have several, set label_separator"
        raise ValueError(f"{path}, line {line}: expected one label, got {len(values)}: {', '.join(map(str, values[:3]))}; {hint}")
    wrong = next((one for one in values if isinstance(one, dict | list)), None)
    if wrong is not None:
        raise ValueError(f"{path}, line {line}: expected a label of text or a number, got {json.dumps(wrong)[:60]}")
    if isinstance(value, list):
        return tuple(dict.fromkeys(label for label in (clean_label(_text(one)) for one in values) if label))
    return split_labels(_text(value), separator)


def _text(value: Any) -> str:
    """Numbers as people write them: 1.0 of a table is class 1."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _decoded(path)
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(path, text)
    else:
        try:
            yield from _table_rows(path, text)
        except csv.Error as error:
            raise ValueError(f"{path}: no table: {error}") from None


def _decoded(path: Path) -> str:
    """Text in UTF-8, or in the UTF-16 of a spreadsheet, which its first bytes tell."""
    content = path.read_bytes()
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 ({error})") from None


def _table_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    text = EXCEL.sub("\n", text, count=1)
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(usual + SEPARATORS, key=lambda mark: len(_columns(first, mark) & {*FILE_COLUMNS, *LABEL_COLUMNS}))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns: list[str] | None = None
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if columns is None:
            columns = [cell.strip().casefold() for cell in cells]
            if twice := [name for name, count in Counter(filter(None, columns)).items() if count > 1]:
                raise ValueError(f"{path}, line {lines.line_num}: two columns are called {twice[0]!r}")
        elif any(cell.strip() for cell in cells[len(columns) :]):
            told = f"{len(columns)} columns, got {len(cells)} cells"
            raise ValueError(f"{path}, line {lines.line_num}: expected {told}; a name with {separator!r} in it needs quotes")
        else:
            yield lines.line_num, dict(zip(columns, cells, strict=False))


def _columns(line: str, separator: str) -> set[str]:
    cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return {cell.strip().casefold() for cell in cells}


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(text.split("\n"), 1):
        if content.strip():
            try:
                row = json.loads(content, parse_constant=_refuse)
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: no JSON ({error})") from None
            yield line, {str(key).strip().casefold(): value for key, value in row.items()} if isinstance(row, dict) else {}


def _refuse(constant: str) -> None:
    """Python's own JSON has NaN, with which tables write that there is nothing; it would become a class of that name."""
    raise ValueError(f"{constant} is neither text nor a number")
