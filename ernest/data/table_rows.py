"""What the rows of a table of captions are, and how people call their columns."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

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
"""The number of a row as an editor has it, and its cells by the names of their columns."""


_NUMBER = re.compile(r"[-+]?[\d.,]*\d[\d.,]*(e[-+]?\d+)?", re.IGNORECASE)


class NoTable(ValueError):
    """Says why a file is no table of captions; `names_files` if it nevertheless speaks of the media."""

    def __init__(self, reason: str, names_files: bool = False) -> None:
        super().__init__(reason)
        self.names_files = names_files


def names_columns(cells: Sequence[str]) -> bool:
    """Whether cells are names of columns that are usual for files and for captions, both."""
    names = {cell.lower() for cell in cells}
    return not names.isdisjoint(FILE_COLUMNS) and not names.isdisjoint(TEXT_COLUMNS)


def texts_of(value: Any) -> list[str]:
    """The captions in a cell, which may hold a list of them, also as a program wrote it into a table."""
    values = value if isinstance(value, list) else _listed(value) if isinstance(value, str) else [value]
    values = [item.get("raw") or item.get("caption") or item.get("text") if isinstance(item, dict) else item for item in values]
    there = (item for item in values if item is not None and item == item)  # NaN, which programs write for nothing, is not
    return [" ".join(str(item).split()) for item in there if str(item).strip()]


def is_measured(text: str) -> bool:
    """Whether a text is one of numbers, as of boxes: four or more, and not even a word to four of them."""
    parts = text.split()
    numbers = sum(bool(_NUMBER.fullmatch(part)) for part in parts)
    return numbers >= 4 and 4 * (len(parts) - numbers) <= numbers


def _listed(cell: str) -> list[str]:
    """The texts of `["one", "two"]`, as JSON, Python and numpy (without commas) print them; else the cell itself."""
    if not re.match(r"\s*\[\s*['\"]", cell) or not cell.rstrip().endswith("]"):
        return [cell]
    for read in (json.loads, ast.literal_eval):
        try:
            texts = read(re.sub(r"""(?<=['"])\s+(?=['"])""", ", ", cell))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
            return texts
    return [cell]
