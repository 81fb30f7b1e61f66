"""Reads tables of captions as people write them: any separator, with or without names of columns, transcripts, COCO's JSON.

Which column names the files is seen from the files that are there; which one holds the captions from its name, or because it
is the only one with words.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernest.data.named import Index

TABLES = ("captions.csv", "captions.tsv", "captions.jsonl", "metadata.csv", "metadata.tsv", "metadata.jsonl")
"""Usual names of a table of captions: what cannot be understood in one of these is an error."""

_FILE_COLUMNS = ("file", "file_name", "filename", "path", "image", "audio", "video")
_TEXT_COLUMNS = (
    *("text", "caption", "captions", "transcript", "transcription", "sentence", "sentences", "normalized_text", "comment"),
    *("description", "prompt", "utterance", "title", "name", "label", "labels", "class_name", "class", "category", "word", "raw"),
)
_NUMBERED = re.compile(r"(.*?)[ _.-]?\d+")
_SAMPLE = 200
_BEYOND = "\0"
"""Of a row, the column of what has no column of its own."""
Row = tuple[int, Mapping[str, Any]]


class NoTable(ValueError):
    """Says why a file is no table of captions; `names_files` if it nevertheless speaks of the media."""

    def __init__(self, reason: str, names_files: bool = False) -> None:
        super().__init__(reason)
        self.names_files = names_files


@dataclass(frozen=True)
class TableCaptions:
    """Captions by file, what should be known of them, and the lines that were left out."""

    texts: dict[str, list[str]]
    notes: list[str]
    faults: list[str]


def read_table(name: str, text: str, index: Index, text_column: str | None, must: bool) -> TableCaptions:
    """The captions in the file `name`. Raises NoTable, or a plain ValueError where it `must` be one."""
    folder = name.rpartition("/")[0]
    try:
        rows: Sequence[Row] = list(_rows(name, text, index, folder))
        columns: Sequence[str] = list(dict.fromkeys(key for _, row in rows[:_SAMPLE] for key in row if key != _BEYOND))
        if not text_column:
            columns, rows = join_numbered(columns, rows)
        files = _file_column(name, columns, rows, index, folder, must)
        column, note = choose_text_column(name, columns, rows, files, text_column)
    except NoTable as reason:
        if must:
            raise ValueError(str(reason)) from None
        raise
    found = [index.find(_cell(row, files), folder) for _, row in rows]
    if folder and any(match.startswith(f"{folder}/") for matches in found for match in matches):
        # A table beside its files speaks of no others: one that is gone is not one of that name elsewhere.
        apart = [matches if "/" in _cell(row, files) else () for (_, row), matches in zip(rows, found, strict=True)]
        inside = [[one for one in matches if one.startswith(f"{folder}/")] for matches in found]
        found = [near or list(far) for near, far in zip(inside, apart, strict=True)]
    texts: dict[str, list[str]] = {}
    faults: list[str] = []
    for (number, row), matches in zip(rows, found, strict=True):
        fault = _fault(row, files, column, columns, matches) or _open_quote(row.get(column), index, folder)
        if fault:
            faults.append(f"{name}, line {number}: {fault}")
        else:
            texts.setdefault(matches[0], []).extend(texts_of(row.get(column)))
    return TableCaptions(texts, [note] if note else [], faults)


def _cell(row: Mapping[str, Any], column: str) -> str:
    """What a row has in a column, which may be the number 0."""
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _fault(row: Mapping[str, Any], files: str, column: str, columns: Sequence[str], matches: Sequence[str]) -> str:
    """Why a row tells the caption of no file; nothing where it does."""
    called = _cell(row, files)
    if not called or not texts_of(row.get(column)):
        return f"the {'caption' if called else 'file name'} is empty"
    if _BEYOND in row and column != columns[-1]:
        return f"it has {row[_BEYOND]} cells for {len(columns)} columns: put a caption with separators in quotes"
    return "" if len(matches) == 1 else f"{'several files are' if matches else 'there is no file'} named {called}"


def _open_quote(value: Any, index: Index, folder: str) -> str:
    """What to say of a cell that goes on over lines of other files."""
    lines = value.split("\n")[1:] if isinstance(value, str) else ()
    if any(index.find(cell, folder) for line in lines for cell in re.split("[,;]", line)):
        return "its quote is left open, and takes in the lines of other files"
    return ""


def texts_of(value: Any) -> list[str]:
    """The captions in a cell, which may hold a list of them."""
    values = value if isinstance(value, list) else [value]
    values = [item.get("raw") or item.get("caption") or item.get("text") if isinstance(item, dict) else item for item in values]
    return [" ".join(str(item).split()) for item in values if item is not None and str(item).strip()]


# ------------------------------------------------------------------ columns


def _file_column(name: str, columns: Sequence[str], rows: Sequence[Row], index: Index, folder: str, must: bool) -> str:
    """The column that names most different files, or one that is called so if it `must` be there. Bare numbers must name most of
    them."""
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    called = {column: [_cell(row, column) for _, row in sample] for column in columns}
    hits = {}
    for column, values in called.items():
        found = [index.find(value, folder) for value in values]
        some = 2 * sum(len(matches) == 1 for matches in found) > len(values) or not all(value.isdigit() for value in values)
        # Labels may be numbers and so may names: those of files are the ones that differ.
        hits[column] = len({matches[0] for matches in found if matches}) if some else 0
    named = [column for column in columns if column.lower() in _FILE_COLUMNS]
    best = max(columns, key=lambda column: (hits[column], column in named), default=None)
    if best is not None and hits[best]:
        return best
    if named and must:
        return named[0]
    if columns and not must:
        raise NoTable(f"{name}: names none of the files")
    expected = " or ".join(_FILE_COLUMNS)
    raise NoTable(f"{name}: no column of file names: expected {expected}, found {', '.join(columns[:12]) or 'none'}")


def choose_text_column(name: str, columns: Sequence[str], rows: Sequence[Row], files: str, wanted: str | None) -> tuple[str, str]:
    """The column of captions, and what to say of the choice."""
    named = {column.lower(): column for column in columns if column != files}
    if wanted and wanted.lower() in named:
        return named[wanted.lower()], ""
    worded = [
        column
        for column in named.values()
        if any(re.search(r"[^\W\d_]", " ".join(texts_of(row.get(column)))) for _, row in rows[:_SAMPLE])
    ]
    usual = [named[column] for column in _TEXT_COLUMNS if column in named and (named[column] in worded or not _is_bare(columns))]
    if not wanted and (usual or len(worded) == 1):
        column = (usual or worded)[0]
        others = [other for other in worded if other != column and other in usual]
        return column, f'{name}: captions are its column "{column}", not {", ".join(others)}' if others else ""
    if not wanted and worded and _is_bare(columns):  # LJSpeech: what stands written, then what is read
        return worded[-1], f"{name}: captions are its column {worded[-1]}, not {', '.join(worded[:-1])}"
    if len(columns) < 2 or (not worded and not wanted):
        raise NoTable(f"{name}: names files, and has no column with words")
    expected = wanted or " or ".join(_TEXT_COLUMNS)
    choice = "" if wanted else " (choose with --text-column)"
    raise NoTable(f"{name}: no column of captions: expected {expected}, found {', '.join(columns)}{choice}", names_files=True)


def join_numbered(columns: Sequence[str], rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[Row]]:
    """Columns `caption_1`, `caption_2`, … as one column `caption` of lists: a file has as many captions."""
    groups: dict[str, list[str]] = {}
    for column in columns:
        stem = _NUMBERED.fullmatch(column)
        if stem and stem[1].lower() in _TEXT_COLUMNS and stem[1] not in columns:
            groups.setdefault(stem[1], []).append(column)
    groups = {stem: names for stem, names in groups.items() if len(names) > 1}
    if not groups:
        return columns, rows
    single = [column for column in columns if not any(column in names for names in groups.values())]
    joined = [
        (number, {column: row.get(column) for column in single}
         | {stem: [text for name in names for text in texts_of(row.get(name))] for stem, names in groups.items()})
        for number, row in rows
    ]  # fmt: skip
    return [*single, *groups], joined


def _is_bare(columns: Sequence[str]) -> bool:
    """Whether the table has no names of columns, but their numbers."""
    return all(column.isdigit() for column in columns)


# ------------------------------------------------------------------ rows


def _rows(name: str, text: str, index: Index, folder: str) -> Iterable[Row]:
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
    if isinstance(content, dict) and isinstance(content.get("annotations"), list) and isinstance(content.get("images"), list):
        files = {image.get("id"): image.get("file_name") for image in content["images"]}
        content = [{**entry, "file_name": files.get(entry.get("image_id"))} for entry in content["annotations"]]
        content = [{"file_name": entry["file_name"], "caption": entry["caption"]} for entry in content if "caption" in entry]
        if not content:
            raise NoTable(f"{name}: COCO's annotations without captions")
    elif isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(lists) == 1 and len(content) < 10:
            content = lists[0]
        else:
            content = [
                {"file": key, **(value if isinstance(value, dict) else {"caption": value})} for key, value in content.items()
            ]
    if not isinstance(content, list):
        raise NoTable(f"{name}: neither a list of objects nor one from file names to captions")
    for number, row in enumerate(content, 1):
        if isinstance(row, dict):
            yield number, {key: value for key, value in row.items() if not isinstance(value, dict)}


def _separated(name: str, text: str, index: Index, folder: str) -> Iterator[Row]:
    """Lines of cells; the separator is the one with which most cells of some column name files."""
    text = re.sub(r"\r\n?", "\n", text)
    text = re.sub(r'^"?sep=.["]?(?=\n)', "", text)  # for Excel: of which it makes no cell
    if not text.strip():
        return
    sampled = text[:200_000].split("\n")[:_SAMPLE]
    candidates = [
        (_matches(list(_cells(sampled, separator)), index, folder), -order, separator) for order, separator in enumerate("\t;|, ")
    ]
    hits, _, separator = max(candidates)
    if not hits:  # spreadsheets of many countries separate by semicolons, and some call a table of tabs .csv
        separator = max("\t;|,", key=next((line for line in sampled if line.strip()), "").count)
    try:
        lines = [(number, cells) for number, cells in _cells(text.split("\n"), separator, strict=True) if any(cells)]
    except csv.Error as error:
        raise NoTable(f"{name}: {error}: is a quote left open?", names_files=bool(hits)) from error
    header = [cell.strip() for cell in lines[0][1]]
    usual = {cell.lower() for cell in header} & {*_FILE_COLUMNS, *_TEXT_COLUMNS}
    titled = bool(usual & {*_FILE_COLUMNS}) and bool(usual & {*_TEXT_COLUMNS})
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
        row[_BEYOND] = len(cells)
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
