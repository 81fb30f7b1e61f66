"""Reads manifests of pictures and labels: CSV as people and spreadsheets write it, TSV, and one JSON object a line."""

import csv
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ernest.lcnet.image_io.find import printable

MANIFESTS = frozenset({".csv", ".tsv", ".jsonl"})
FILE_COLUMNS = ("file", "filename", "file_name", "filepath", "file_path", "path", "image", "image_path", "img")
LABEL_COLUMNS = ("label", "class", "category", "target", "class_name", "label_name")
SEPARATORS = ",;\t|"


def read_manifest(path: Path) -> list[tuple[Path, str]]:
    """Pairs of file and label. Files are relative to the folder of the manifest; blanks around names are taken off.

    A header is needed: without one, a first picture could be taken for names of columns. Raises ValueError, which names the
    line: no header, no label, several of them, more cells than columns, files that are missing or listed twice.
    """
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path}: no lines")
    found = [(line, *_file_and_label(path, line, row)) for line, row in rows]
    missing = [(line, file) for line, file, _ in found if not os.path.isfile(file)]
    if missing:
        line, file = missing[0]
        raise ValueError(f"{path}, line {line}: {printable(str(file))} is no file, one of {len(missing)} that are missing")
    twice = next((file for file, count in Counter(file for _, file, _ in found).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: {twice} is listed more than once")
    return [(file, label) for _, file, label in found]


def clean_label(text: str) -> str:
    """A class's name in one spelling: no blanks around it, accents composed, nothing that text cannot hold."""
    return unicodedata.normalize("NFC", printable(text)).strip()


def _file_and_label(path: Path, line: int, row: Mapping[str, Any]) -> tuple[Path, str]:
    file = next((row[name] for name in FILE_COLUMNS if name in row), None)
    label = next((row[name] for name in LABEL_COLUMNS if name in row), None)
    name, text = _text(file), _label_text(path, line, label)
    if not name or not text:
        lacking = "label" if name else "file"
        raise ValueError(f"{path}, line {line}: no {lacking}; the columns are to be called file and label")
    there = path.parent / name
    if "\\" in name and not os.path.isfile(there):
        there = path.parent / name.replace("\\", "/")  # written on Windows
    return there, text


def _label_text(path: Path, line: int, value: Any) -> str:
    """One label: text, a whole number, or a list of just one."""
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"{path}, line {line}: expected one label, got {len(value)}: {', '.join(map(str, value[:3]))}")
        value = value[0] if value else None
    if isinstance(value, dict):
        raise ValueError(f"{path}, line {line}: expected a label of text or a number, got {json.dumps(value)[:60]}")
    return clean_label(_text(value))


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
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(usual + SEPARATORS, key=lambda mark: len(_columns(first, mark) & {*FILE_COLUMNS, *LABEL_COLUMNS}))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns: list[str] | None = None
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if columns is None:
            columns = [cell.strip().casefold() for cell in cells]
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
                row = json.loads(content)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {line}: no JSON ({error})") from None
            yield line, {str(key).strip().casefold(): value for key, value in row.items()} if isinstance(row, dict) else {}
