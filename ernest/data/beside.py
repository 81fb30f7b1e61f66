"""Finds the text files that people keep beside their media, or in a tree of texts, and reads the captions in them."""

import json
import re
from collections.abc import Mapping, Sequence

from ernest.data.named import Index, whole_name
from ernest.data.table_rows import is_measured, texts_of
from ernest.data.tables import TableCaptions
from ernest.data.tree import Tree

_BESIDE = ("txt", "normalized.txt", "caption", "captions", "lab", "label", "original.txt", "json", "cls")
"""Endings of a file with the caption of another one, the better ones first."""
_JSON_FIELDS = ("caption", "captions", "text", "texts", "description", "title", "label")


def neighbours(index: Index, texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of each file that has some: the text files beside it, or in a tree of texts, by endings.

    A folder of texts alone may stand for one of media: the one whose path differs in one part, or else for any where the name of
    the file is the only one. Texts among media that have lost their file are not those of files that are called so elsewhere.
    """
    owners = {text: _owners(index, text) for text in texts}
    trees: dict[str, list[str]] = {}
    beside: dict[str, dict[str, str]] = {}
    for text, (ending, files) in owners.items():
        folder = text.rpartition("/")[0]
        for file in files if folder in index.folders else ():
            if file.rpartition("/")[0] == folder:
                beside.setdefault(file, {}).setdefault(ending, text)
        if folder not in index.folders:
            trees.setdefault(folder.partition("/")[0], []).append(text)
    for tree in trees.values():
        found = {text: index.twins(text.rpartition("/")[0], owners[text][1]) for text in tree}
        alike = any(found.values())
        for text in tree:
            files = found[text] if alike else owners[text][1]
            if len({whole_name(file.rpartition(".")[0]) for file in files}) == 1:
                for file in files:
                    beside.setdefault(file, {}).setdefault(owners[text][0], text)
    return beside


def _owners(index: Index, text: str) -> tuple[str, Sequence[str]]:
    """The ending of a text by which it has the name of files, and those files."""
    folder, _, base = text.rpartition("/")
    parts = base.split(".")
    for count in (1, 2, 3):
        ending, stem = ".".join(parts[len(parts) - count :]).lower(), ".".join(parts[: len(parts) - count])
        ending = ending if ending in _BESIDE else ending.split(".")[-1]
        if stem and ending in _BESIDE and (files := index.beside(folder, stem)):
            return ending, files
    return "", ()


_SPAN = re.compile(r"(\d+) (\d+) (?=.*[^\W\d])")
"""Before the words of a sound, from which sample to which they are spoken, as TIMIT has it."""


def beside_captions(tree: Tree, beside: Mapping[str, Mapping[str, str]], lines: bool) -> TableCaptions:
    """The captions in the text files beside each file, of the best of its texts; with `lines`, each line is one."""
    texts: dict[str, list[str]] = {}
    faults: list[str] = []
    several = numbers = silent = 0
    for file, sides in beside.items():
        for ending in sorted(sides, key=_BESIDE.index):
            try:
                found = _neighbour_captions(file, tree.text(sides[ending]), ending, lines)
            except ValueError as error:
                faults.append(str(error))
                continue
            if found and all(re.fullmatch(r"[-+\d.eE]+(\s+[-+\d.eE]+){3,}", caption) for caption in found):
                numbers += 1
                continue
            if found:
                several += len(found) > 1 and ending != "json"
                texts[file] = found
                break
            silent += ending == "json"
    captions = [caption for found in texts.values() for caption in found]
    if captions and all(map(is_measured, captions)):
        numbers, several, texts = numbers + len(texts), 0, {}
    notes = []
    if captions and all((span := _SPAN.match(caption)) and int(span[1]) < int(span[2]) for caption in captions):
        texts = {file: [_SPAN.sub("", caption) for caption in found] for file, found in texts.items()}
        notes.append("the two numbers before each text, from where to where it is spoken, are no part of the captions")
    if silent:
        notes.append(
            f"not used: {silent} JSON files beside the media hold no {', '.join(_JSON_FIELDS[:-1])} or {_JSON_FIELDS[-1]}"
        )
    if several:
        notes.append(
            f"{several} text files hold several lines: each line is a caption of its own (--join-lines makes one of them)"
        )
    if numbers:
        notes.append(f"not used: {numbers} text files beside the media hold numbers, as of boxes")
    return TableCaptions(texts, notes, faults)


def _neighbour_captions(file: str, text: str, ending: str, lines: bool) -> list[str]:
    if ending == "json":
        try:
            content = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            return []
        if isinstance(content, dict):  # labels may be numbers, among them 0
            title = file.rpartition("/")[2]  # which Google Takeout has for all, and is no caption
            return next((found for key in _JSON_FIELDS if (found := texts_of(content.get(key))) and found != [title]), [])
        found = content if isinstance(content, list) else [content]
        return [_one_line(caption) for caption in found if isinstance(caption, str) and caption.strip()]
    if not lines:
        return [_one_line(text)] if text.strip() else []
    # A line that begins with blanks goes on where the one before it ended.
    parts = re.split(r"\r?\n(?![ \t])|\r(?!\n)", text)
    return list(dict.fromkeys(_one_line(part) for part in parts if part.strip()))


def _one_line(text: str) -> str:
    return " ".join(text.split())
