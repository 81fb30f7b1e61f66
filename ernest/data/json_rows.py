"""Reads the rows of a table from JSON: lines, lists of objects or of cells, columns, COCO's captions, and captions by file."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ernest.data.named import Index
from ernest.data.table_rows import FILE_COLUMNS, SAMPLE, TEXT_COLUMNS, NoTable, Row, names_columns, texts_of


def json_lines(name: str, text: str) -> Iterator[Row]:
    """An object each line. Raises NoTable for a line that is none."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else "too many lists within lists"
            raise NoTable(f"{name}, line {number}: not JSON: {said}") from error
        if not isinstance(row, dict):
            raise NoTable(f"{name}, line {number}: expected an object")
        yield number, _flat(row)


def json_rows(name: str, text: str, index: Index, folder: str) -> Iterator[Row]:
    """The rows of one JSON value, or of lines that are called so. Raises NoTable where it has none."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and text.lstrip()[:1] == "[":
            raise NoTable(f"{name}, line {error.lineno}: not JSON: {error.msg}") from None
        yield from json_lines(name, text)  # many call JSON lines so
        return
    rows = _rows(name, content, index, folder)
    if rows is None:
        raise NoTable(f"{name}: neither a list of objects nor one from file names to captions")
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield number, _flat(row)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the cells of objects within it, as Label Studio has them, where no other cell is called so."""
    cells = {key: value for key, value in row.items() if not isinstance(value, dict)}
    inner = {key: cell for value in row.values() if isinstance(value, dict) for key, cell in value.items()}
    return {key: cell for key, cell in inner.items() if not isinstance(cell, dict)} | cells


def _rows(name: str, content: Any, index: Index, folder: str) -> Sequence[Any] | None:
    if isinstance(content, list):
        return _of_cells(content)
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("annotations"), list) and isinstance(content.get("images"), list):
        return _of_coco(name, content)
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):  # pandas, "split"
        return _of_cells([content["columns"], *content["data"]])
    lists = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if lists and len(content) < 10:
        return max((rows for rows in lists if _has_words(rows)), key=len, default=lists[0])
    if any(index.find(key, folder) for key in content):
        return [{"file": key, **(value if isinstance(value, dict) else {"caption": value})} for key, value in content.items()]
    if columns := _of_columns(content, index, folder):
        return columns
    return next(
        (rows for value in content.values() if isinstance(value, dict) and (rows := _rows(name, value, index, folder))), []
    )


def _of_cells(rows: Sequence[Any]) -> Sequence[Any]:
    """Rows that are lists, by the names of columns in the first one or, where that has none, by their numbers."""
    if not rows or not all(isinstance(row, list) for row in rows):
        return rows
    if names_columns(header := [str(cell) for cell in rows[0]]):
        return [dict(zip(header, row, strict=False)) for row in rows[1:]]
    return [{str(number): cell for number, cell in enumerate(row, 1)} for row in rows]


def _of_coco(name: str, content: Mapping[str, Any]) -> Sequence[Any]:
    """COCO's captions with the names of their files; or those that stand with the files themselves."""
    files = {image.get("id"): image.get("file_name") for image in content["images"]}
    entries = [{**entry, "file_name": files.get(entry.get("image_id"))} for entry in content["annotations"]]
    entries = [{"file_name": entry["file_name"], "caption": entry["caption"]} for entry in entries if "caption" in entry]
    if not entries and not _has_words(content["images"]):
        raise NoTable(f"{name}: COCO's annotations without captions")
    return entries or content["images"]


def _of_columns(content: Mapping[str, Any], index: Index, folder: str) -> list[dict[str, Any]]:
    """The rows of columns that are lists, or objects by the number of the row, as pandas writes them; none where they differ, or
    where neither their names nor their cells are those of a table about the files."""
    columns = {key: value for key, value in content.items() if isinstance(value, list | dict)}
    cells = [list(value.values() if isinstance(value, dict) else value) for value in columns.values()]
    if len(columns) < 2 or len({*map(len, cells)}) != 1:
        return []
    usual = {key.lower() for key in columns} & {*FILE_COLUMNS, *TEXT_COLUMNS}
    if not usual and not any(index.find(str(cell), folder) for column in cells for cell in column[:SAMPLE]):
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]


def _has_words(rows: Iterable[Any]) -> bool:
    """Whether the first row of some has words in a column that is usual for captions."""
    first = next(iter(rows), None)
    usual = [texts_of(value) for key, value in first.items() if key.lower() in TEXT_COLUMNS] if isinstance(first, dict) else []
    return any(re.search(r"[^\W\d_]", text) for texts in usual for text in texts)
