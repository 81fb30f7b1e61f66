"""Reads tables of captions: of the rows that a file has (`ernest.data.table_rows`), what is told of which file.

Which column names the files is seen from the files that are there; which one holds the captions from its name, or because it
is the only one with words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernest.data.named import Index
from ernest.data.table_rows import BEYOND, FILE_COLUMNS, SAMPLE, TEXT_COLUMNS, NoTable, Row, rows_of

TABLES = ("captions.csv", "captions.tsv", "captions.jsonl", "metadata.csv", "metadata.tsv", "metadata.jsonl")
"""Usual names of a table of captions: what cannot be understood in one of these is an error."""

_NUMBERED = re.compile(r"(.*?)[ _.-]?\d+")


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
        rows: Sequence[Row] = list(rows_of(name, text, index, folder))
        columns: Sequence[str] = list(dict.fromkeys(key for _, row in rows[:SAMPLE] for key in row if key != BEYOND))
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
    if BEYOND in row and column != columns[-1]:
        return f"it has {row[BEYOND]} cells for {len(columns)} columns: put a caption with separators in quotes"
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
    sample = rows[:: max(1, len(rows) // SAMPLE)]
    called = {column: [_cell(row, column) for _, row in sample] for column in columns}
    hits = {}
    for column, values in called.items():
        found = [index.find(value, folder) for value in values]
        some = 2 * sum(len(matches) == 1 for matches in found) > len(values) or not all(value.isdigit() for value in values)
        # Labels may be numbers and so may names: those of files are the ones that differ.
        hits[column] = len({matches[0] for matches in found if matches}) if some else 0
    named = [column for column in columns if column.lower() in FILE_COLUMNS]
    best = max(columns, key=lambda column: (hits[column], column in named), default=None)
    if best is not None and hits[best]:
        return best
    if named and must:
        return named[0]
    if columns and not must:
        raise NoTable(f"{name}: names none of the files")
    expected = " or ".join(FILE_COLUMNS)
    raise NoTable(f"{name}: no column of file names: expected {expected}, found {', '.join(columns[:12]) or 'none'}")


def choose_text_column(name: str, columns: Sequence[str], rows: Sequence[Row], files: str, wanted: str | None) -> tuple[str, str]:
    """The column of captions, and what to say of the choice."""
    named = {column.lower(): column for column in columns if column != files}
    if wanted and wanted.lower() in named:
        return named[wanted.lower()], ""
    worded = [
        column
        for column in named.values()
        if any(re.search(r"[^\W\d_]", " ".join(texts_of(row.get(column)))) for _, row in rows[:SAMPLE])
    ]
    usual = [named[column] for column in TEXT_COLUMNS if column in named and (named[column] in worded or not _is_bare(columns))]
    if not wanted and (usual or len(worded) == 1):
        column = (usual or worded)[0]
        others = [other for other in worded if other != column and other in usual]
        return column, f'{name}: captions are its column "{column}", not {", ".join(others)}' if others else ""
    if not wanted and worded and _is_bare(columns):  # LJSpeech: what stands written, then what is read
        return worded[-1], f"{name}: captions are its column {worded[-1]}, not {', '.join(worded[:-1])}"
    if len(columns) < 2 or (not worded and not wanted):
        raise NoTable(f"{name}: names files, and has no column with words")
    expected = wanted or " or ".join(TEXT_COLUMNS)
    choice = "" if wanted else " (choose with --text-column)"
    raise NoTable(f"{name}: no column of captions: expected {expected}, found {', '.join(columns)}{choice}", names_files=True)


def join_numbered(columns: Sequence[str], rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[Row]]:
    """Columns `caption_1`, `caption_2`, … as one column `caption` of lists: a file has as many captions."""
    groups: dict[str, list[str]] = {}
    for column in columns:
        stem = _NUMBERED.fullmatch(column)
        if stem and stem[1].lower() in TEXT_COLUMNS and stem[1] not in columns:
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
