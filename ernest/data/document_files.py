"""Finds and reads the documents of a folder: pages, and files of rows; and the media that they name, all within the folder."""

import base64
import binascii
import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from ernest.config.media import MediaSpec
from ernest.data.captions import NO_TABLES
from ernest.data.documents import Document, Part, Reference, Room, records_of
from ernest.data.media import read_any
from ernest.data.mediafile import MediaFile
from ernest.data.pages import HTML, MARKDOWN, read_page
from ernest.data.parquet import read_rows
from ernest.data.rows import is_document, read_row
from ernest.data.table_rows import NoTable
from ernest.data.tree import Tree
from ernest.sequence.record import Record
from ernest.tokenizers.text import TextTokenizer

_LINES = ("jsonl", "ndjson")
_SAMPLE = 2_000_000
"""Characters of texts from which it is learnt how many tokens a text has."""
_HEAD = 1 << 20
_FIELDS = re.compile(rb'"(messages|conversations?)"\s*:\s*\[\s*\{|"texts"\s*:\s*\[|"text_list"\s*:\s*\[')
_NAMED = 10
"""Media that the complaint about a document names, at most."""


@dataclass(frozen=True)
class DocumentFiles:
    """The files of a tree that are documents, or rows of documents; none where no document names a medium or is a chat."""

    tree: Tree
    names: Sequence[str] = ()
    faults: list[str] = field(default_factory=list)

    @cached_property
    def media(self) -> "_Media":
        return _Media(self.tree)

    def documents(self) -> Iterator[Document]:
        """Each document, its media not yet read. Which cannot be read is noted in `faults`, once."""
        self.faults.clear()
        for name in self.names:
            yield from _documents(self.tree, name, self.faults)

    def survey(self) -> "Survey":
        """What the documents are, without their media."""
        names, shown, texts, room = [], set(), [], _SAMPLE
        for document in self.documents():
            names.append(document.name)
            for part in document.parts:
                if isinstance(part, Reference):
                    shown.add(self.media.name_of(part, document.folder))
                elif room > 0:
                    texts.append(part.data)
                    room -= len(part.data)
        return Survey(names, shown, texts)

    def records(
        self, texts: Sequence[str], length: int, vocabulary: int, spec: MediaSpec, skipped: list[str]
    ) -> Iterator[tuple[str, list[Record]]]:
        """The records of each document, for rows of so many positions. Media that cannot be read, and documents of which nothing
        is left, are noted in `skipped`: one line for a document."""
        tokenizer = TextTokenizer.train(texts, vocabulary)
        room = Room(length, spec, lru_cache(1 << 16)(lambda text: len(tokenizer.encode(text))))
        for document in self.documents():
            runs, faults = _read(document, self.media, room)
            try:
                records = records_of(runs, document, room)
            except ValueError as error:
                records, faults = [], [str(error)]
            if faults:
                more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
                did = "cut" if records else "left out"
                skipped.append(f"{document.name}: {did}: {'; '.join(faults[:_NAMED])}{more}")
            elif not records:
                skipped.append(f"{document.name}: holds nothing that could be made from what stands before it")
            if records:
                yield document.name, records
        skipped += self.faults


@dataclass(frozen=True)
class Survey:
    """The names of all documents of a tree, the files that they show, and a sample of their texts."""

    names: list[str]
    shown: set[str | None]
    texts: list[str]


def find_documents(tree: Tree) -> DocumentFiles:
    """The documents among the files of a tree. Pages without media are some only beside pages with media; a readme is none."""
    pages, rows, shows = [], [], False
    for name in tree.names:
        base = name.rpartition("/")[2].lower()
        stem, _, ending = base.rpartition(".")
        if ending in (*HTML, *MARKDOWN) and stem not in NO_TABLES:
            pages.append(name)
            shows = shows or any(isinstance(part, Reference) for part in _parts_of_page(tree, name, []))
        elif (ending in (*_LINES, "json") and _holds_rows(tree, name, ending)) or (
            ending == "parquet" and _is_packed(tree, name)
        ):
            rows.append(name)
    return DocumentFiles(tree, sorted([*(pages if shows else ()), *rows]))


def _holds_rows(tree: Tree, name: str, ending: str) -> bool:
    """By the names of fields at the beginning, and of the first line where that is a row."""
    with tree.file(name).open() as content:
        head = content.read(_HEAD)
        if ending == "json" and head.lstrip()[:1] == b"[":
            return bool(_FIELDS.search(head))
        content.seek(0)
        first = next((line for line in content if line.strip()), b"") if _FIELDS.search(head) else b"0"
    try:
        return is_document(json.loads(first))
    except (ValueError, RecursionError):
        return False


def _is_packed(tree: Tree, name: str) -> bool:
    try:
        return any(is_document(row) for row in islice(read_rows(str(tree.folder / name)), 1))
    except NoTable:
        return False


# ------------------------------------------------------------------ files


def _documents(tree: Tree, name: str, faults: list[str]) -> Iterator[Document]:
    folder, _, base = name.rpartition("/")
    ending = base.rpartition(".")[2].lower()
    if ending in (*HTML, *MARKDOWN):
        parts = _parts_of_page(tree, name, faults)
        if parts:
            yield Document(name, folder, parts)
        return
    read = read_rows(str(tree.folder / name)) if ending == "parquet" else _json_rows(tree, name, ending, faults)
    for number, row in enumerate(read, 1):
        if row is None:
            continue
        try:
            parts, chat = read_row(row)
        except ValueError as error:
            faults.append(f"{name}/{number}: {error}")
            continue
        yield Document(f"{name}/{number}", folder, parts, chat)


def _parts_of_page(tree: Tree, name: str, faults: list[str]) -> list[Part | Reference]:
    try:
        return read_page(tree, name)
    except ValueError as error:
        faults.append(str(error))
        return []


def _json_rows(tree: Tree, name: str, ending: str, faults: list[str]) -> Iterator[Any]:
    """The rows of a list, or of lines, a line at a time; None for one that is no JSON."""
    if ending == "json":
        try:
            content = json.loads(tree.text(name))
        except (ValueError, RecursionError):
            content = None  # many call JSON lines so
        if content is not None:
            yield from content if isinstance(content, list) else [content]
            return
    with tree.file(name).open() as lines:
        number = 0
        for line in lines:
            if not line.strip():
                continue
            number += 1
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                faults.append(f"{name}/{number}: not JSON: {str(error)[:80]}")
                yield None


# ------------------------------------------------------------------ media


def _read(document: Document, media: "_Media", room: Room) -> tuple[list[list[list[Part]]], list[str]]:
    """The units of a document in runs, between which a medium is missing, and why; of a chat, what stands before the first."""
    runs: list[list[list[Part]]] = [[]]
    faults: list[str] = []
    for unit in document.units():
        try:
            runs[-1].append([_part(one, document, media, room) for one in unit])
        except ValueError as error:
            faults.append(str(error))
            if document.chat:
                break
            runs.append([])
    return runs, faults


def _part(one: Part | Reference, document: Document, media: "_Media", room: Room) -> Part:
    """Raises ValueError for a medium that cannot be read, or is longer than a row."""
    if isinstance(one, Part):
        return one
    file = media.find(one, document.folder)
    kind, data = read_any(file, room.spec)
    part = Part(kind, data, one.words, one.made, one.turn)
    if (positions := 1 + room.positions(part, one.made or not document.chat)) > room.length:
        raise ValueError(f"{file.name}: takes {positions} positions, and rows have {room.length}")
    return part


class _Media:
    """Finds what documents name among the files of a tree: nothing outside of it, and nothing by a network."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.names = tree, set(tree.names)
        self.by_base: dict[str, list[str]] = {}
        for name in tree.names:
            self.by_base.setdefault(name.rpartition("/")[2], []).append(name)

    def find(self, medium: Reference, folder: str) -> MediaFile:
        """The file of a medium that a document in `folder` names. Raises ValueError that says why there is none."""
        source = medium.source
        if isinstance(source, bytes):
            return MediaFile("a medium within it", "", content=source)
        if source.startswith("data:"):
            return MediaFile("a medium within it", "", content=_of_data_address(source))
        name = self.name_of(medium, folder)
        if name is not None:
            return self.tree.file(name)
        called = source if len(source) <= 80 else f"{source[:77]}..."
        if _is_elsewhere(source):
            raise ValueError(f"{called}: lies elsewhere, and is not fetched")
        outside = posixpath.normpath(posixpath.join(folder, source.replace("\\", "/"))).startswith(("../", "/"))
        raise ValueError(f"{called}: {'lies outside of the folder' if outside else 'there is no such file'}")

    def name_of(self, medium: Reference, folder: str) -> str | None:
        """The name in the tree of what a document in `folder` names, as it is written or as an address."""
        if isinstance(medium.source, bytes) or _is_elsewhere(medium.source) or medium.source.startswith("data:"):
            return None
        written = re.sub(r"^file://(localhost)?", "", medium.source)
        for path in dict.fromkeys((written, unquote(re.split(r"[?#]", written)[0]))):
            found = self._named(path.replace("\\", "/"), folder, medium.anywhere)
            if found is not None:
                return found
        return None

    def _named(self, path: str, folder: str, anywhere: bool) -> str | None:
        """From the document's folder; a path from the root, from the tree's. With `anywhere`, also a path whose end is one in the
        tree, as after a move, and the only file whose path ends so."""
        rooted = re.match(r"[A-Za-z]:/|/", path)
        parts = (path[rooted.end() :] if rooted else path).split("/")
        tails = ["/".join(parts[start:]) for start in range(len(parts) if rooted and anywhere else 1)]
        bases = ("",) if rooted and not anywhere else (folder, "") if anywhere else (folder,)
        for tail in tails:
            for base in bases:
                name = posixpath.normpath(posixpath.join(base, tail))
                if name in self.names:
                    return name
        ends = [name for name in self.by_base.get(parts[-1], ()) if name.endswith(f"/{path}")] if anywhere else []
        return ends[0] if len(ends) == 1 else None


def _is_elsewhere(source: str) -> bool:
    return bool(re.match(r"//|(?!file:|data:)[A-Za-z][A-Za-z0-9+.-]+:", source))


def _of_data_address(address: str) -> bytes:
    """The bytes of an address that holds them itself (RFC 2397)."""
    head, _, data = address.partition(",")
    try:
        return base64.b64decode(unquote_to_bytes(data)) if head.endswith(";base64") else unquote_to_bytes(data)
    except binascii.Error as error:
        raise ValueError(f"{address[:40]}...: no data that can be read: {error}") from error
