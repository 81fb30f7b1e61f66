"""Finds the captions of a folder wherever people keep them: tables, transcripts, JSON, files beside, names of folders."""

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from ernest.data.named import Index
from ernest.data.table_rows import NoTable
from ernest.data.tables import TABLES, read_table, texts_of
from ernest.data.tree import Tree

TEXT_ENDINGS = (
    *(
        "txt",
        "csv",
        "tsv",
        "json",
        "jsonl",
        "ndjson",
        "caption",
        "captions",
        "lab",
        "label",
        "cls",
        "token",
        "trans",
        "lst",
        "list",
    ),
    *("md", "markdown", "rst", "xml", "yaml", "yml", "html", "htm", "xhtml", "toml", "ini", "log", "py", "sh", "srt", "vtt"),
    *("textgrid", "dat", "tab"),
)
"""Endings of files that hold words, and are neither pictures nor sounds."""
_BESIDE = ("txt", "normalized.txt", "caption", "captions", "lab", "label", "original.txt", "json")
"""Endings of a file with the caption of another one, the better ones first."""
FOLDERS = "folders"
_NAMED_TEXTS = ("text", "readme", "license", "licence", "copying", "authors", "changelog", "transcript", "transcripts", "prompts")
NO_TABLES = ("readme", "license", "licence", "copying", "authors", "changelog")
_SECOND_CHOICE = re.compile(r"^(invalidated|reported|other|unvalidated_sentences|clip_durations)\.tsv$")
"""Tables of Common Voice whose sentences nobody has found to be what is said."""
_SAYS_NOTHING = re.compile(
    r"^(train|training|trainval|val|valid|validation|validate|test|testing|dev|eval|unlabell?ed|extra|split)[\d_\-.]*(clean|other)?[\d_\-.]*$"
    r"|^(images?|imgs?|pictures?|pics|photos?|jpe?g(images|s)?|png|videos?|films|movies|clips?|sounds?|audios?|wavs?(48|16)?|flac|mp3"
    r"|data|dataset|files?|media|all|raw|samples?|recordings?|part|shard|content|out|output|.+\.tar)[\d_\-.]*$|^\d{5,}$",
    re.IGNORECASE,
)
"""Names of folders that say how files are kept, and not what they show."""


@dataclass(frozen=True)
class Captions:
    """The texts of each file by its name in the tree, where they come from, and what the user should know before all else."""

    texts: Mapping[str, list[str]]
    source: str
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def media_names(tree: Tree) -> list[str]:
    """Files that are no texts by their names: whether they are media, their content says."""
    return [name for name in tree.names if not _is_text(name)]


def find_captions(
    tree: Tree,
    media: Sequence[str],
    table: tuple[str, str] | None = None,
    text_column: str | None = None,
    lines: bool = True,
    documents: Set[str] = frozenset(),
) -> Captions:
    """The captions that are kept for most of `media`: in tables, else beside the files, else as the names of their folders.

    `table` is the one to take, its name and text, or the name `FOLDERS` for the names of folders. With `lines`, each line of
    a text file beside a file is a caption. Files that are `documents` hold no captions, and names of folders beside some are none
    unless they are asked for. Raises ValueError for a table that may hold captions and cannot be understood.
    """
    index = Index(media)
    if table is not None and table[0] == FOLDERS:
        return _from_folders(media)
    if table is not None:
        read = read_table(*table, index, text_column, must=True)
        return Captions(read.texts, f"the table {table[0].rpartition('/')[2]}", read.notes, read.faults)
    texts = [name for name in tree.names if _is_text(name) and name not in documents]
    beside = _neighbours(index, texts)
    others = [name for name in texts if name not in {side for sides in beside.values() for side in sides.values()}]
    tabled, unused = _from_tables(tree, index, others, text_column)
    neighbouring = _from_neighbours(tree, beside, lines)
    best = max((tabled, neighbouring), key=lambda captions: len(captions.texts))
    if not best.texts:
        doubtful = [*tabled.faults, *(reason for reason, names_files in unused if names_files)]
        if doubtful:
            raise ValueError(f"{doubtful[0]}; or take the names of the folders: --captions folders")
        beside_documents = Captions({}, "", neighbouring.notes, neighbouring.faults)
        best = beside_documents if documents else _from_folders(media, neighbouring.faults, neighbouring.notes)
    notes = [f"not used: {reason}" for reason, _ in unused]
    if best is tabled and neighbouring.texts:
        notes.append(f"not used: {len(neighbouring.texts)} text files beside the media, since {tabled.source} has more captions")
    if best is neighbouring and tabled.texts:
        notes.append(f"not used: {tabled.source}, since more files have a text beside them")
    several = sum(len(texts) > 1 for texts in best.texts.values())
    if several:
        notes.append(f"{several} files have several captions: training draws one of them each time")
    return Captions(best.texts, best.source, notes + best.notes, best.faults)


def one_line(text: str) -> str:
    return " ".join(text.split())


def _is_text(name: str) -> bool:
    base = name.rpartition("/")[2].lower()
    return base.rpartition(".")[2] in (*TEXT_ENDINGS, *_NAMED_TEXTS) if "." in base else base in _NAMED_TEXTS


# ------------------------------------------------------------------ tables


def _from_tables(
    tree: Tree, index: Index, names: Sequence[str], text_column: str | None
) -> tuple[Captions, list[tuple[str, bool]]]:
    """Captions of all tables, and of each text file that is none why not, and whether it names files nevertheless."""
    texts: dict[str, list[str]] = {}
    used, notes, faults, unused = [], [], [], []
    for name in names:
        base = name.rpartition("/")[2].lower()
        if _SECOND_CHOICE.match(base):
            unused.append((f"{name}: of Common Voice, whose sentences are not confirmed", False))
            continue
        if base.rpartition(".")[0] in NO_TABLES or base in NO_TABLES:
            continue
        try:
            read = read_table(name, tree.text(name), index, text_column, must=base in TABLES)
        except NoTable as reason:
            unused.append((str(reason), reason.names_files))
            continue
        used.append(name)
        notes += read.notes
        faults += read.faults
        for file, captions in read.texts.items():
            known = texts.setdefault(file, [])
            known += [caption for caption in captions if caption not in known]
    if len(used) == 1:
        source = f"the table {used[0]}"
    else:
        source = f"{len(used)} tables ({', '.join(used[:3])}{', ...' if len(used) > 3 else ''})"
    return Captions(texts, source, notes, faults), unused


# ------------------------------------------------------------------ files beside the media


def _neighbours(index: Index, texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of each file that has some: the text files beside it, or in another folder where the name is the only one, by endings."""
    owners = {text: _owners(index, text) for text in texts}
    folders = {text: text.rpartition("/")[0] for text in texts}
    own = {text for text, (_, files) in owners.items() if any(file.rpartition("/")[0] == folders[text] for file in files)}
    filled = {folders[text] for text in own}
    beside: dict[str, dict[str, str]] = {}
    # Texts beside their files come first, and others of their folder have lost theirs: not what is called so elsewhere.
    for text in (*sorted(own), *(one for one in texts if folders[one] not in filled)):
        ending, files = owners[text]
        for file in files if text in own or len(files) == 1 else ():
            beside.setdefault(file, {}).setdefault(ending, text)
    return beside


def _owners(index: Index, text: str) -> tuple[str, Sequence[str]]:
    """The ending of a text by which it has the name of files, and those files."""
    folder, _, base = text.rpartition("/")
    parts = base.split(".")
    for count in (1, 2, 3):
        ending, stem = ".".join(parts[len(parts) - count :]).lower(), ".".join(parts[: len(parts) - count])
        if not stem or ending.split(".")[-1] not in (*TEXT_ENDINGS,):
            continue
        ending = ending if ending in _BESIDE else ending.split(".")[-1]
        if ending in _BESIDE and (files := index.beside(folder, stem)):
            return ending, files
    return "", ()


def _from_neighbours(tree: Tree, beside: Mapping[str, Mapping[str, str]], lines: bool) -> Captions:
    texts: dict[str, list[str]] = {}
    faults: list[str] = []
    several = numbers = 0
    for file, sides in beside.items():
        for ending in sorted(sides, key=_BESIDE.index):
            try:
                found = _neighbour_captions(sides[ending], tree.text(sides[ending]), ending, lines)
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
    notes = []
    if several:
        notes.append(
            f"{several} text files hold several lines: each line is a caption of its own (--join-lines makes one of them)"
        )
    if numbers:
        notes.append(f"not used: {numbers} text files beside the media hold only numbers")
    return Captions(texts, "the text files beside the media", notes, faults)


def _neighbour_captions(name: str, text: str, ending: str, lines: bool) -> list[str]:
    if ending == "json":
        try:
            content = json.loads(text)
        except json.JSONDecodeError:
            return []
        if isinstance(content, dict):  # labels may be numbers, among them 0
            keys = ("caption", "captions", "text", "texts", "description", "title", "label")
            return next((found for key in keys if (found := texts_of(content.get(key)))), [])
        found = content if isinstance(content, list) else [content]
        return [one_line(caption) for caption in found if isinstance(caption, str) and caption.strip()]
    if not lines:
        return [one_line(text)] if text.strip() else []
    # A line that begins with blanks goes on where the one before it ended.
    parts = re.split(r"\r?\n(?![ \t])|\r(?!\n)", text)
    return list(dict.fromkeys(one_line(part) for part in parts if part.strip()))


# ------------------------------------------------------------------ names of folders


def _from_folders(media: Sequence[str], faults: Sequence[str] = (), notes: Sequence[str] = ()) -> Captions:
    """The name of the nearest folder that says what its files show; numbers before such names only order them."""
    labels = {name: _label(name) for name in media}
    found = {label for label in labels.values() if label}
    numbered = len(found) > 1 and all(re.match(r"\d+[._\- ]+\D", label) for label in found)
    texts = {
        name: [one_line((re.sub(r"^\d+[._\- ]+", "", label) if numbered else label).replace("_", " "))]
        for name, label in labels.items()
        if label
    }
    return Captions(texts, "the names of the sub-folders", list(notes), list(faults))


def _label(name: str) -> str:
    return next((part for part in reversed(name.split("/")[:-1]) if not _SAYS_NOTHING.match(part) and part.strip("_ ")), "")
