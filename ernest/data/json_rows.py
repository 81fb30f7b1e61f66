"""Reads the rows of a table from JSON: lines, lists of objects or of cells, columns, COCO's captions, and captions by file."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ernest.data.folder_names import says_nothing
from ernest.data.named import Index
from ernest.data.table_rows import FILE_COLUMNS, SAMPLE, TEXT_COLUMNS, NoTable, Row, names_columns, texts_of

_CALLED = re.compile(r"\S+\.(?=\w*[a-z])\w{1,5}", re.IGNORECASE), re.compile(r"[^\s.]*\d[^\s.]*")
"""What files are called, with an ending or without one: of a list of such ones, not all need be there."""


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
    if chosen := _chosen(row.get("annotations")):
        cells["label"] = chosen
    inner = {key: cell for value in row.values() if isinstance(value, dict) for key, cell in value.items()}
    return {key: cell for key, cell in inner.items() if not isinstance(cell, dict)} | cells


def _chosen(annotations: Any) -> list[str]:
    """What people chose or wrote in Label Studio: each of a task's annotations has results, and these values."""
    done = [one for one in annotations if isinstance(one, dict)] if isinstance(annotations, list) else []
    results = [result for one in done for result in one.get("result") or () if isinstance(result, dict)]
    values = [result["value"] for result in results if isinstance(result.get("value"), dict)]
    return [text for value in values for key in ("choices", "text") for text in texts_of(value.get(key))]


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
    if rows := _of_classes(content, index, folder) or _of_numbered(content, index) or _of_columns(content, index, folder):
        return rows
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


def _of_classes(content: Mapping[str, Any], index: Index, folder: str) -> list[dict[str, Any]]:
    """The rows of captions with the list of their files; none where one of the lists is of other things, or a split."""
    lists = {key: value for key, value in content.items() if isinstance(value, list) and value}
    cells = [str(cell) for value in lists.values() for cell in value[:SAMPLE]]
    there = [bool(index.find(cell, folder)) for cell in cells]
    columns = any(says_nothing(key) or key.lower() in (*FILE_COLUMNS, *TEXT_COLUMNS) for key in lists)
    if columns or not any(there) or not (all(there) or any(all(map(form.fullmatch, cells)) for form in _CALLED)):
        return []
    return [{"file": cell, "caption": key} for key, value in lists.items() for cell in value]


def _of_numbered(content: Mapping[str, Any], index: Index) -> Sequence[Any]:
    """The rows that are called by numbers or names of their own; none where these are names of columns.

    Down a column stand the names of many files, and of rows there are more than of columns.
    """
    rows = list(content.values())
    if not rows or not (all(isinstance(row, dict) for row in rows) or all(isinstance(row, list) for row in rows)):
        return []
    cells = [row if isinstance(row, dict) else dict(enumerate(row)) for row in rows]
    named = [(place, number) for number, row in enumerate(cells) for place, cell in row.items()
             if isinstance(cell, str | int) and index.mentions(str(cell))]  # fmt: skip
    if not named:
        return []
    down = Counter(place for place, _ in named).most_common(1)[0][1]
    across = Counter(number for _, number in named).most_common(1)[0][1]
    return _of_cells(rows) if (down, len(rows)) > (across, max(map(len, cells))) else []


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
