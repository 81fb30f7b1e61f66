"""Reads tables of captions: of the rows that a file has, in cells (`ernest.data.separated`) or JSON, what is told of which file.

Which column names the files is seen from the files that are there; which one holds the captions from its name, or because it
is the only one with words.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernest.data.json_rows import json_lines, json_rows
from ernest.data.named import Index
from ernest.data.separated import separated_rows
from ernest.data.table_rows import BEYOND, FILE_COLUMNS, SAMPLE, TEXT_COLUMNS, NoTable, Row, is_measured, texts_of

TABLES = ("captions.csv", "captions.tsv", "captions.jsonl", "metadata.csv", "metadata.tsv", "metadata.jsonl")
"""Usual names of a table of captions: what cannot be understood in one of these is an error."""

_NUMBERED = re.compile(r"(.*?)[ _.-]?\d+")
_TOLD = 10
"""Lines of a table about files that are not there which are named one by one: a table may be about many more than one has."""
_PLACE = re.compile(r"\w+://\S+|(\S*[/\\])?\S+\.(?=\w*[a-z])\w{2,4}(\s*#\d+)?", re.IGNORECASE)
"""An address or the name of a file, which is no caption."""


@dataclass(frozen=True)
class TableCaptions:
    """Captions by file, what should be known of them, and the lines that were left out."""

    texts: dict[str, list[str]]
    notes: list[str]
    faults: list[str]


def read_table(name: str, text: str, index: Index, text_column: str | None, must: bool) -> TableCaptions:
    """The captions in the file `name`. Raises NoTable, or a plain ValueError where it `must` be one."""
    return captions_of(
        name, lambda: _rows_of(name, text.removeprefix("\ufeff"), index, name.rpartition("/")[0]), index, text_column, must
    )


def captions_of(
    name: str, read: Callable[[], Iterable[Row]], index: Index, text_column: str | None, must: bool = False
) -> TableCaptions:
    """The captions in the rows that `read` gives of the file `name`. Raises as `read_table` does."""
    folder = name.rpartition("/")[0]
    try:
        rows: Sequence[Row] = list(read())
        columns: Sequence[str] = list(dict.fromkeys(key for _, row in rows[:SAMPLE] for key in row if key != BEYOND))
        if not text_column:
            columns, rows = join_numbered(columns, rows)
        files = _file_column(name, columns, rows, index, folder, must)
        found = _found(rows, files, index, folder)
        about = [row for row, matches in zip(rows, found, strict=True) if matches]  # comments and second headers are none
        column, note = choose_text_column(name, columns, about or rows, files, text_column)
    except NoTable as reason:
        if must:
            raise ValueError(str(reason)) from None
        raise
    notes = [note] if note else []
    partners = []
    for other in columns:
        if other not in (files, column) and _is_of_another_kind(other, about, files, index, folder):
            beside = _found(rows, other, index, folder)
            partners.append([(theirs if len(theirs) == 1 else own)[:1] for own, theirs in zip(found, beside, strict=True)])
            notes.append(f'{name}: its columns "{files}" and "{other}" name files of two kinds, and captions are those of both')
    texts: dict[str, list[str]] = {}
    faults: list[str] = []
    gone = 0
    for place, ((number, row), matches) in enumerate(zip(rows, found, strict=True)):
        fault = _fault(row, files, column, columns, matches) or _open_quote(row.get(column), index, folder)
        if not fault:
            for one in dict.fromkeys((matches[0], *(files_of[place][0] for files_of in partners))):
                texts.setdefault(one, []).extend(texts_of(row.get(column)))
        elif matches or gone < _TOLD or not _cell(row, files):
            faults.append(f"{name}, line {number}: {fault}")
        gone += not matches
    if gone > _TOLD:
        faults.append(f"{name}: {gone - _TOLD} more lines name no file that is there")
    return TableCaptions(texts, notes, faults)


def _found(rows: Sequence[Row], files: str, index: Index, folder: str) -> list[list[str]]:
    """The files that each row may mean by its cell in the column `files`."""
    found = [index.find(_cell(row, files), folder) for _, row in rows]
    if not folder or not any(match.startswith(f"{folder}/") for matches in found for match in matches):
        return found
    # A table beside its files speaks of no others: one that is gone is not one of that name elsewhere.
    apart = [matches if "/" in _cell(row, files) else () for (_, row), matches in zip(rows, found, strict=True)]
    inside = [[one for one in matches if one.startswith(f"{folder}/")] for matches in found]
    return [near or list(far) for near, far in zip(inside, apart, strict=True)]


def _is_of_another_kind(column: str, rows: Sequence[Row], files: str, index: Index, folder: str) -> bool:
    """Whether a column names files as `files` does, in the same rows, but sounds where those are pictures."""
    for _, row in rows[:SAMPLE]:
        cells = _cell(row, files), _cell(row, column)
        one, other = (index.find(cell, folder) if not cell.isdigit() else [] for cell in cells)
        if len(one) == len(other) == 1:
            kinds = index.kind(one[0]), index.kind(other[0])
            return None not in kinds and kinds[0] != kinds[1]
    return False


def _rows_of(name: str, text: str, index: Index, folder: str) -> Iterable[Row]:
    """The rows, numbered as an editor does."""
    match name.rpartition(".")[2].lower():
        case "jsonl" | "ndjson":
            return json_lines(name, text)
        case "json":
            return json_rows(name, text, index, folder)
    return separated_rows(name, text, index, folder)


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


# ------------------------------------------------------------------ columns


def _file_column(name: str, columns: Sequence[str], rows: Sequence[Row], index: Index, folder: str, must: bool) -> str:
    """The column that names most different files, or one that is called so if it `must` be there. Bare numbers must name most of
    them."""
    named = [column for column in columns if column.lower() in FILE_COLUMNS]
    sample = rows[:: max(1, len(rows) // SAMPLE)]
    mentioning = (row for row in rows if any(index.mentions(_cell(row[1], column)) for column in columns))
    for some, share in ((sample, 0.5), (mentioning, 0.0 if must else 1.0)):  # it may be about many more files than there are
        cells = list(some)
        hits = {column: _hits([_cell(row, column) for _, row in cells], index, folder, share) for column in columns}
        best = max(columns, key=lambda column: (hits[column], column in named), default=None)
        if best is None:
            break
        # A dictionary names a few of many files by chance.
        few = index.count / 10 if some is mentioning or 4 * hits[best] < len(cells) else 0
        if hits[best] > (0 if must else few):
            return best
    if named and must:
        return named[0]
    if not must:
        raise NoTable(f"{name}: names none of the files")
    expected = " or ".join(FILE_COLUMNS)
    raise NoTable(f"{name}: no column of file names: expected {expected}, found {', '.join(columns[:12]) or 'none'}")


def _hits(cells: Sequence[str], index: Index, folder: str, share: float) -> int:
    """How many different files the cells of a column name; bare numbers, without zeros before them, count if more than this
    `share` of them do."""
    found = [index.find(cell, folder) for cell in cells]
    bare = all(cell.isdigit() and (cell == "0" or cell[0] != "0") for cell in cells)
    some = not bare or sum(len(matches) == 1 for matches in found) > share * len(cells)
    # Labels may be numbers and so may names: those of files are the ones that differ.
    return len({matches[0] for matches in found if matches}) if some else 0


def choose_text_column(name: str, columns: Sequence[str], rows: Sequence[Row], files: str, wanted: str | None) -> tuple[str, str]:
    """The column of captions, and what to say of the choice."""
    named = {column.lower(): column for column in columns if column != files}
    if wanted and wanted.lower() in named:
        return named[wanted.lower()], ""
    worded = [
        column
        for column in named.values()
        if any(re.search(r"[^\W\d_]", text) and not _PLACE.fullmatch(text) and not is_measured(text)
               for _, row in rows[:SAMPLE] for text in texts_of(row.get(column)))
    ]  # fmt: skip
    usual = [named[column] for column in TEXT_COLUMNS if column in named and (named[column] in worded or not _is_bare(columns))]
    if not wanted and (usual or len(worded) == 1):
        column = (usual or worded)[0]
        others = [other for other in worded if other != column and other in usual]
        return column, f'{name}: captions are its column "{column}", not {", ".join(others)}' if others else ""
    if not wanted and worded and _is_bare(columns):  # of LJSpeech what is read, not what is written; of others not the split
        column = max(worded, key=lambda one: sum(map(str.isalpha, "".join(str(row.get(one)) for _, row in rows[:SAMPLE]))))
        return column, f"{name}: captions are its column {column}, not {', '.join(one for one in worded if one != column)}"
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
