"""Finds the captions of a folder wherever people keep them: tables, transcripts, JSON, files beside, names of folders."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial

from ernest.data.beside import beside_captions, neighbours
from ernest.data.folder_names import folder_captions, own_names
from ernest.data.media import kind_of
from ernest.data.named import Index
from ernest.data.parquet import table_rows
from ernest.data.table_rows import NoTable
from ernest.data.tables import TABLES, captions_of, read_table
from ernest.data.tree import Tree

_SPREADSHEETS = ("xlsx", "xls", "ods", "numbers")
_NO_CAPTIONS = (
    *("xml", "yaml", "yml", "html", "htm", "xhtml", "toml", "ini", "py", "sh", "lock", "dvc", "srt", "vtt", "textgrid"),
    *_SPREADSHEETS,
)
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
    *("md", "markdown", "rst", "log", "dat", "tab", *_NO_CAPTIONS),
)
"""Endings of files that hold words, and are neither pictures nor sounds."""
FOLDERS = "folders"
_FOLDERS = "the names of the sub-folders"
NAMES = "names"
_CODE = re.compile(r"\S*\d\S*")
"""A caption that may stand for a name which is kept elsewhere, as n02085620 of ImageNet does."""
_ALIKE = 10
"""So many text files that are not used for one and the same reason are told in one line."""
_NAMED_TEXTS = ("text", "readme", "license", "licence", "copying", "authors", "changelog", "transcript", "transcripts", "prompts")
NO_TABLES = ("readme", "license", "licence", "copying", "authors", "changelog")
_SECOND_CHOICE = {
    re.compile(r"(invalidated|reported|other|unvalidated_sentences|clip_durations)\.tsv"): (
        "of Common Voice, whose sentences are not confirmed"
    ),
    re.compile(r"sample[_ -]?submission.*\.csv"): "a form to be filled in, whose labels are none",
}
"""Tables whose captions nobody has found to be right, and why."""


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
    parquet: Sequence[str] = (),
) -> Captions:
    """The captions that are kept for most of `media`: in tables, else beside the files, else as the names of their folders.

    `table` is the one to take, its name and text, or `FOLDERS` or `NAMES` for the names of folders or files. With `lines`, each
    line of a text file beside a file is a caption. Files that are `documents` hold no captions, and names of folders beside some
    are none unless they are asked for; files of `parquet` may be tables. Raises ValueError for a table that may hold captions and
    cannot be understood.
    """
    index = Index(media, lambda name: kind_of(tree.file(name)))
    texts = [name for name in tree.names if _is_text(name) and name not in documents]
    if table is not None and table[0] in (FOLDERS, NAMES):
        asked = (folder_captions(media), _FOLDERS) if table[0] == FOLDERS else (own_names(media), "the names of the files")
        return _called(Captions(*asked), tree, texts)[0]
    if table is not None:
        read = read_table(*table, index, text_column, must=True)
        found = Captions(read.texts, f"the table {table[0].rpartition('/')[2]}", read.notes, read.faults)
        return _called(found, tree, texts)[0]
    beside = neighbours(index, texts)
    taken = {text for sides in beside.values() for text in sides.values()}
    others = [name for name in texts if name not in taken]
    tabled, unused = _from_tables(tree, index, [*others, *parquet], text_column)
    near = beside_captions(tree, beside, lines)
    neighbouring = Captions(near.texts, "the text files beside the media", near.notes, near.faults)
    best = max((tabled, neighbouring), key=lambda captions: len(captions.texts))
    if not best.texts:
        doubtful = [*tabled.faults, *(reason for _, reason, names_files in unused if names_files)]
        if doubtful:
            raise ValueError(f"{doubtful[0]}; or take the names of folders or files: --captions folders, --captions names")
        if text_column:
            raise ValueError(f"{text_column}: there is no table of captions that has such a column")
        named = {} if documents else folder_captions(media)
        few = sorted({text for found in named.values() for text in found})
        alone = [f'all captions are "{few[0]}", the name of a folder'] if len(few) == 1 else []
        best = Captions(named, "" if documents else _FOLDERS, neighbouring.notes + alone, neighbouring.faults)
    notes = []
    if best is tabled and neighbouring.texts:
        notes.append(f"not used: {len(neighbouring.texts)} text files beside the media, since {tabled.source} has more captions")
    if best is neighbouring and tabled.texts:
        notes.append(f"not used: {tabled.source}, since more files have a text beside them")
    several = sum(len(texts) > 1 for texts in best.texts.values())
    if several:
        notes.append(f"{several} files have several captions: training draws one of them each time")
    called, meaning = _called(best, tree, [name for name, _, _ in unused])
    notes = [*_not_used([one for one in unused if one[0] != meaning]), *notes, *called.notes]
    return Captions(called.texts, called.source, notes, called.faults)


def _called(captions: Captions, tree: Tree, tables: Sequence[str]) -> tuple[Captions, str]:
    """The captions with names in the place of codes, where one of `tables` has a name for each, and which one that is."""
    different = {text for texts in captions.texts.values() for text in texts}
    if not different or not all(map(_CODE.fullmatch, different)):
        return captions, ""
    codes = Index(sorted(different))
    meanings: dict[str, dict[str, list[str]]] = {}
    for table in tables:
        try:
            names = read_table(table, tree.text(table), codes, None, must=False).texts
        except ValueError:
            continue
        if len(names) == codes.count and all(re.search(r"[^\W\d_]", name) for found in names.values() for name in found):
            meanings[table] = names
    if len(meanings) != 1:
        note = f"{' and '.join(meanings)} each say something of the captions, which stay as they are"
        return replace(captions, notes=[*captions.notes, *([note] if meanings else [])]), ""
    ((table, names),) = meanings.items()
    texts = {file: [name for code in found for name in names[code]] for file, found in captions.texts.items()}
    note = f"{table} says what the captions mean: {next(iter(names))} is {next(iter(names.values()))[0]}"
    return replace(captions, texts=texts, notes=[*captions.notes, note]), table


def _not_used(unused: Sequence[tuple[str, str, bool]]) -> list[str]:
    """What to say of text files that are not used; of many with the same reason once."""
    reasons: dict[str, list[str]] = {}
    for name, reason, _ in unused:
        reasons.setdefault(reason.removeprefix(name), []).append(name)
    return [
        f"not used: {line}"
        for reason, names in reasons.items()
        for line in (
            [f"{name}{reason}" for name in names]
            if len(names) <= _ALIKE
            else [f"{len(names)} text files, such as {names[0]}{reason}"]
        )
    ]


def _is_text(name: str) -> bool:
    base = name.rpartition("/")[2].lower()
    return base.rpartition(".")[2] in (*TEXT_ENDINGS, *_NAMED_TEXTS) if "." in base else base in _NAMED_TEXTS


# ------------------------------------------------------------------ tables


def _from_tables(
    tree: Tree, index: Index, names: Sequence[str], text_column: str | None
) -> tuple[Captions, list[tuple[str, str, bool]]]:
    """Captions of all tables, and each text file that is none, why not, and whether it may speak of the files nevertheless."""
    texts: dict[str, list[str]] = {}
    used, notes, faults, unused = [], [], [], []
    for name in names:
        base = name.rpartition("/")[2].lower()
        if why := next((why for form, why in _SECOND_CHOICE.items() if form.fullmatch(base)), ""):
            unused.append((name, f"{name}: {why}", False))
            continue
        if (ending := base.rpartition(".")[2]) in _NO_CAPTIONS:
            what = "a spreadsheet: save it as CSV" if ending in _SPREADSHEETS else "of a kind that is not read for captions"
            unused.append((name, f"{name}: {what}", False))
            continue
        if base.rpartition(".")[0] in NO_TABLES or base in NO_TABLES:
            continue
        try:
            if ending == "parquet":
                read = captions_of(name, partial(table_rows, str(tree.folder / name)), index, text_column)
            else:
                read = read_table(name, tree.text(name), index, text_column, must=base in TABLES)
        except NoTable as reason:
            unused.append((name, str(reason), reason.names_files))
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
