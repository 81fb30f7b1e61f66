"""Reads the rows of a table as people write them: JSON lines, lists of JSON, COCO's captions, and cells with any separator, with
or without names of columns."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ernest.data.named import Index

FILE_COLUMNS = ("file", "file_name", "filename", "path", "image", "audio", "video")
TEXT_COLUMNS = (
    *("text", "caption", "captions", "transcript", "transcription", "sentence", "sentences", "normalized_text", "comment"),
    *("description", "prompt", "utterance", "title", "name", "label", "labels", "class_name", "class", "category", "word", "raw"),
)
"""Usual names of columns of files, and of captions."""
SAMPLE = 200
"""Rows that columns and separators are judged by."""
BEYOND = "\0"
"""Of a row, the column of what has no column of its own."""
Row = tuple[int, Mapping[str, Any]]


class NoTable(ValueError):
    """Says why a file is no table of captions; `names_files` if it nevertheless speaks of the media."""

    def __init__(self, reason: str, names_files: bool = False) -> None:
        super().__init__(reason)
        self.names_files = names_files


def rows_of(name: str, text: str, index: Index, folder: str) -> Iterable[Row]:
    """The rows, numbered as an editor does."""
    text = text.removeprefix("\ufeff")
    ending = name.rpartition(".")[2].lower()
    if ending in ("jsonl", "ndjson"):
        return _json_lines(name, text)
    if ending == "json":
        return _json_rows(name, text)
    return _separated(name, text, index, folder)


def _json_lines(name: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise NoTable(f"{name}, line {number}: not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise NoTable(f"{name}, line {number}: expected an object")
        yield number, row


def _json_rows(name: str, text: str) -> Iterator[Row]:
    """COCO's captions, lists of objects, and objects from names to captions."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        try:
            yield from _json_lines(name, text)  # many call JSON lines so
        except NoTable:
            raise NoTable(f"{name}: not JSON") from None
        return
    if isinstance(content, dict):
        content = _entries(name, content)
    if not isinstance(content, list):
        raise NoTable(f"{name}: neither a list of objects nor one from file names to captions")
    for number, row in enumerate(content, 1):
        if isinstance(row, dict):
            yield number, {key: value for key, value in row.items() if not isinstance(value, dict)}


def _entries(name: str, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows in an object: COCO's captions with the names of their files, its only list, or its names with their captions."""
    if isinstance(content.get("annotations"), list) and isinstance(content.get("images"), list):
        files = {image.get("id"): image.get("file_name") for image in content["images"]}
        entries = [{**entry, "file_name": files.get(entry.get("image_id"))} for entry in content["annotations"]]
        entries = [{"file_name": entry["file_name"], "caption": entry["caption"]} for entry in entries if "caption" in entry]
        if not entries:
            raise NoTable(f"{name}: COCO's annotations without captions")
        return entries
    lists = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) == 1 and len(content) < 10:
        return lists[0]
    return [{"file": key, **(value if isinstance(value, dict) else {"caption": value})} for key, value in content.items()]


def _separated(name: str, text: str, index: Index, folder: str) -> Iterator[Row]:
    """Lines of cells, below names of columns or, where the first line has none, their numbers."""
    text = re.sub(r"\r\n?", "\n", text)
    text = re.sub(r'^"?sep=.["]?(?=\n)', "", text)  # for Excel: of which it makes no cell
    if not text.strip():
        return
    separator, hits = _separator(text[:200_000].split("\n")[:SAMPLE], index, folder)
    try:
        lines = [(number, cells) for number, cells in _cells(text.split("\n"), separator, strict=True) if any(cells)]
    except csv.Error as error:
        raise NoTable(f"{name}: {error}: is a quote left open?", names_files=bool(hits)) from error
    header = [cell.strip() for cell in lines[0][1]]
    usual = {cell.lower() for cell in header} & {*FILE_COLUMNS, *TEXT_COLUMNS}
    titled = bool(usual & {*FILE_COLUMNS}) and bool(usual & {*TEXT_COLUMNS})
    known = not titled and any(index.find(cell, folder) for cell in header)
    if known or not (usual or hits) or (separator == " " and not usual):
        header = [str(number) for number in range(1, _width(lines, separator) + 1)]
    else:
        lines = lines[1:]
        if not lines and not usual:
            raise NoTable(f"{name}: no table of captions")
        if not lines:
            raise NoTable(f"{name}: holds no line")
    for number, cells in lines:
        yield number, _by_column(header, cells, separator)


def _separator(sampled: Sequence[str], index: Index, folder: str) -> tuple[str, int]:
    """The separator with which most cells of some column name files, and how many do."""
    candidates = [
        (_matches(list(_cells(sampled, separator)), index, folder), -order, separator) for order, separator in enumerate("\t;|, ")
    ]
    hits, _, separator = max(candidates)
    if not hits:  # spreadsheets of many countries separate by semicolons, and some call a table of tabs .csv
        separator = max("\t;|,", key=next((line for line in sampled if line.strip()), "").count)
    return separator, hits


def _width(lines: Sequence[tuple[int, Sequence[str]]], separator: str) -> int:
    """The columns of a table without names of them. Where lines differ, commas and semicolons may be those of captions."""
    widths = [len(cells) for _, cells in lines]
    return min((width for width in widths if width > 1), default=1) if separator in ",;" else max(widths)


def _by_column(header: Sequence[str], cells: Sequence[str], separator: str) -> Mapping[str, Any]:
    """The cells of a line by their columns. What is beyond the last belongs to it, as where a caption has commas and no quotes;
    how many cells there are stands beside."""
    row: dict[str, Any] = dict(zip(header, cells, strict=False))
    if any(beyond := cells[len(header) :]):
        row[header[-1]] = f"{separator} ".join([cells[len(header) - 1], *beyond])
        row[BEYOND] = len(cells)
    return row


def _matches(lines: Sequence[tuple[int, list[str]]], index: Index, folder: str) -> int:
    """How many lines name a file in the same column, if those are at least half of them."""
    width = max((len(cells) for _, cells in lines), default=0)
    counts = [
        sum(len(cells) > 1 and place < len(cells) and bool(index.find(cells[place], folder)) for _, cells in lines)
        for place in range(width)
    ]
    best = max(counts, default=0)
    return best if 2 * best >= len(lines) - 2 else 0


def _cells(lines: Sequence[str], separator: str, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that has some. Commas and semicolons come with the quotes of csv; elsewhere quotes are speech. Where
    csv gives up, so do the lines, or, if `strict`, csv.Error is raised."""
    if separator in ",;":
        reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=separator, skipinitialspace=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error:
            if strict:
                raise
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            cells = line.strip("\r").split(separator, 1 if separator == " " else -1)
            yield number, [_unquoted(cell.strip()) for cell in cells]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell
