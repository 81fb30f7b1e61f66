"""Reads lines of cells as people write them: with any separator and quotes, with or without names of columns, and where most of
what they name is not there."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ernest.data.named import Index
from ernest.data.table_rows import BEYOND, FILE_COLUMNS, SAMPLE, TEXT_COLUMNS, NoTable, Row, names_columns

Line = tuple[int, list[str]]
"""The number of a line as an editor has it, and its cells."""
_SEPARATORS = "\t;|, "


def separated_rows(name: str, text: str, index: Index, folder: str) -> Iterator[Row]:
    """The rows below names of columns or, where the first line has none, their numbers. Raises NoTable where there is none."""
    text = re.sub(r"\r\n?", "\n", text)
    text = re.sub(r'^"?sep=.["]?(?=\n)', "", text)  # for Excel: of which it makes no cell
    if not text.strip():
        return
    lines = text.split("\n")
    separator, telling = _separator(lines, index, folder)
    try:
        rows = [(number, cells) for number, cells in _cells(lines, separator, strict=True) if any(cells)]
    except csv.Error as error:
        raise NoTable(f"{name}: {error}: is a quote left open?", names_files=bool(telling)) from error
    header = [cell.strip() for cell in rows[0][1]]
    usual = {cell.lower() for cell in header} & {*FILE_COLUMNS, *TEXT_COLUMNS}
    known = not names_columns(header) and _is_row(header, telling, index, folder)
    if known or not (usual or telling) or (separator == " " and not usual):
        header = [str(number) for number in range(1, _width(rows, separator) + 1)]
    else:
        rows = rows[1:]
        if not rows and not usual:
            raise NoTable(f"{name}: no table of captions")
        if not rows:
            raise NoTable(f"{name}: holds no line")
    header = _distinct(header)
    for number, cells in rows:
        yield number, _by_column(header, cells, separator)


# ------------------------------------------------------------------ what separates, and whether columns have names


def _separator(lines: Sequence[str], index: Index, folder: str) -> tuple[str, list[str]]:
    """The separator with which most cells of some column name files, and those cells.

    The first lines are asked, and, of a table that is mostly about files that are not there, those that mention one.
    """
    first = [line for line in lines[:SAMPLE] if line.strip()]
    mentioning = (line for line in lines if _mentions(line, index))
    for sampled in (first, islice(mentioning, SAMPLE)):
        some = list(sampled)
        found = [(_naming_cells(some, separator, index, folder), separator) for separator in _SEPARATORS]
        telling, separator = max(found, key=lambda one: (len(one[0]), -_SEPARATORS.index(one[1])))
        if telling and 2 * len(telling) >= len(some) - 2:
            return separator, telling
        if not telling and len(lines) <= SAMPLE:
            break
    # Spreadsheets of many countries separate by semicolons, and some call a table of tabs .csv.
    return max(_SEPARATORS[:-1], key=next(iter(first), "").count), []


def _mentions(line: str, index: Index) -> bool:
    return any(index.mentions(cell) for cell in (*re.split(r"[\t;|,]", line), line.partition(" ")[0]))


def _naming_cells(sampled: Sequence[str], separator: str, index: Index, folder: str) -> list[str]:
    """The cells that name files of the column that has most of those; of transcripts it is the first."""
    lines = list(_cells(sampled, separator))
    width = max((len(cells) for _, cells in lines), default=0) if separator != " " else 1
    columns = [
        [cells[place] for _, cells in lines if len(cells) > 1 and place < len(cells) and index.find(cells[place], folder)]
        for place in range(width)
    ]
    return max(columns, key=len, default=[])


def _is_row(first: Sequence[str], telling: Sequence[str], index: Index, folder: str) -> bool:
    """Whether a first line is a row: it names a file, or one that is not there and called like those that are."""
    likes = {*map(_likeness, telling)} - {""}
    return any(index.find(cell, folder) or _likeness(cell) in likes for cell in first)


def _likeness(cell: str) -> str:
    """What names of files have in common: their ending or, without one, all but the numbers."""
    ending = re.search(r"\.(?=\w*[a-z])\w{1,5}(?=(#\d+)?$)", cell, re.IGNORECASE)
    return ending[0].lower() if ending else re.sub(r"\d+", "0", cell) if re.search(r"\d", cell) else ""


def _width(lines: Sequence[Line], separator: str) -> int:
    """The columns of a table without names of them. Where lines differ, commas and semicolons may be those of captions."""
    widths = [len(cells) for _, cells in lines]
    return min((width for width in widths if width > 1), default=1) if separator in ",;" else max(widths)


def _distinct(header: Sequence[str]) -> list[str]:
    """Names of columns, numbered where several are called alike."""
    seen: dict[str, int] = {}
    for name in header:
        seen[name] = seen.get(name, 0) + 1
    counts = dict.fromkeys(seen, 0)
    names = []
    for name in header:
        counts[name] += 1
        names.append(f"{name} {counts[name]}" if name and seen[name] > 1 else name)
    return names


# ------------------------------------------------------------------ cells


def _by_column(header: Sequence[str], cells: Sequence[str], separator: str) -> Mapping[str, Any]:
    """The cells of a line by their columns. What is beyond the last belongs to it, as where a caption has commas and no quotes;
    how many cells there are stands beside."""
    row: dict[str, Any] = dict(zip(header, cells, strict=False))
    if any(beyond := cells[len(header) :]):
        row[header[-1]] = f"{separator} ".join([cells[len(header) - 1], *beyond])
        row[BEYOND] = len(cells)
    return row


def _cells(lines: Sequence[str], separator: str, strict: bool = False) -> Iterator[Line]:
    """The cells of each line that has some. Commas and semicolons come with the quotes of csv, and where csv gives up, so do the
    lines or, if `strict`, csv.Error is raised. Elsewhere quotes are speech, unless only csv finds as many cells in all lines."""
    if separator in ",;":
        try:
            yield from _quoted(lines, separator)
        except csv.Error:
            if strict:
                raise
        return
    split = _by_blank if separator == " " else lambda line: line.split(separator)
    plain = [
        (number, [_unquoted(cell.strip()) for cell in split(line.strip("\r"))])
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    yield from plain if _is_even(plain) or separator == " " else _evened(lines, separator) or plain


def _by_blank(line: str) -> list[str]:
    """What stands before and behind the first blank, without the sign between them: `a.png: a card`, `a.png - a card`."""
    name, *rest = line.split(" ", 1)
    return [name.removesuffix(":"), *(re.sub(r"^\s*[-–—=:>]+\s", "", text) for text in rest)]


def _evened(lines: Sequence[str], separator: str) -> list[Line]:
    """Lines whose quotes hold separators or ends of lines, as csv has them; none where that leaves them uneven."""
    if not any(f'{separator}"' in line or line.startswith('"') for line in lines):
        return []
    try:
        quoted = list(_quoted(lines, separator, strict=True))
    except csv.Error:
        return []
    return quoted if _is_even(quoted) else []


def _is_even(lines: Sequence[Line]) -> bool:
    return len({len(cells) for _, cells in lines}) == 1


def _quoted(lines: Sequence[str], separator: str, strict: bool = False) -> Iterator[Line]:
    reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=separator, skipinitialspace=True, strict=strict)
    for cells in reader:
        if cells:
            yield reader.line_num, cells


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell
