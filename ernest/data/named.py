"""Finds the files of a folder by what a table, or a text beside them, calls them."""

import posixpath
import re
from collections.abc import Callable, Sequence
from unicodedata import normalize
from urllib.parse import unquote

_ENDING = re.compile(r"\.(?=\w*[a-z])\w{1,5}$", re.IGNORECASE)
"""The ending of a file's name, which its other version may have instead: with a letter, or 1.5 would be a version of 1."""
_NUMBERED = re.compile(r"(\.\w+)#\d+$")
"""The captions of Flickr: 1000.jpg#0."""
_PART = re.compile(r"([\w-]{11})_\d{6}(?:_\d{6})?|(.+)_mic\d")
"""The name of a piece of a film of YouTube, whose tables tell the times apart, and of one of VCTK's microphones."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://([^?#]*)")


class Index:
    """Finds media by what a table calls them: the path, its end, the name, with or without the ending; else whatever the case.

    `kind` tells what a file is, where that is asked for."""

    def __init__(self, media: Sequence[str], kind: Callable[[str], str | None] = lambda name: None) -> None:
        self.kind = kind
        self.count, self.folders = len(media), {name.rpartition("/")[0] for name in media}
        self.by_rest: dict[str, set[str]] = {}
        self.twins_of: dict[str, set[str]] = {}
        # Systems write one letter as one code or as several: é, or e and ´.
        forms: tuple[Callable[[str], str], ...] = (
            lambda name: normalize("NFC", name),
            lambda name: normalize("NFC", name).lower(),
        )
        self.names = [_Names(media, form) for form in forms]

    def find(self, called: str, folder: str) -> list[str]:
        """All files that may be meant in a table that lies in `folder`: by a path, or an address whose end is one."""
        address = _ADDRESS.match(called.strip())
        called = (address[1] if address else called).strip().replace("\\", "/")
        called = posixpath.normpath(called) if called else ""
        if ".." in called.split("/"):
            called, folder = posixpath.normpath(posixpath.join(folder, called)), ""
        if not called or called.startswith(".."):
            return []
        ways = [called]
        ways += [_NUMBERED.sub(r"\1", called)] if "#" in called else []
        ways += [unquote(called)] if "%" in called else []
        for one in ways:
            for names in self.names:
                if found := names.find(one, folder):
                    return found
        return []

    def mentions(self, cell: str) -> bool:
        """Whether some file, wherever it lies, is called like the end of a cell: a first look, which costs little."""
        base = cell.strip(' "\t').replace("\\", "/").rpartition("/")[2]
        return self.names[1].mentions(_NUMBERED.sub(r"\1", base) if "#" in base else base)

    def twins(self, folder: str, files: Sequence[str]) -> list[str]:
        """Those of `files` whose folder has the path of `folder` but for one part, which is called otherwise or is not there."""
        if not self.by_rest:
            for one in self.folders:
                for rest in _rests(one):
                    self.by_rest.setdefault(rest, set()).add(one)
        if folder not in self.twins_of:
            self.twins_of[folder] = set().union(*(self.by_rest.get(rest, ()) for rest in _rests(folder)))
        return [file for file in files if file.rpartition("/")[0] in self.twins_of[folder]]

    def beside(self, folder: str, stem: str) -> list[str]:
        """The files of a text that is called `stem` and an ending, in any folder; those in its own alone where there are some."""
        here = f"{folder}/{stem}" if folder else stem
        own = next((found for names in self.names if (found := names.at(here))), [])
        return own or next((found for names in self.names if (found := names.called(stem))), [])


def whole_name(stem: str) -> str:
    """What a file is a part of, by its name without ending; that name itself where it is none."""
    part = _PART.fullmatch(stem)
    return (part[1] or part[2]) if part else stem


def _rests(folder: str) -> set[str]:
    """A path, and what is left of it without each of its parts."""
    parts = folder.split("/")
    return {folder, *("/".join(parts[:place] + parts[place + 1 :]) for place in range(len(parts)))}


class _Names:
    """The files by their names in one `form` of writing."""

    def __init__(self, media: Sequence[str], form: Callable[[str], str]) -> None:
        self.form = form
        self.by_path: dict[str, list[str]] = {}
        self.by_name: dict[str, list[str]] = {}
        self.by_stem: dict[str, list[str]] = {}
        self.by_place: dict[str, list[str]] = {}
        self.by_whole: dict[str, list[str]] = {}
        for name in media:
            folder, slash, base = name.rpartition("/")
            stem = base.rpartition(".")[0] or base
            whole = whole_name(stem)
            keys = (self.by_path, name), (self.by_name, base), (self.by_stem, stem), (self.by_place, folder + slash + stem)
            keys += ((self.by_whole, whole),) if whole != stem else ()
            for table, key in keys:
                table.setdefault(form(key), []).append(name)

    def at(self, path: str) -> list[str]:
        """The files of that path, with or without their ending."""
        return [*self.by_place.get(self.form(path), []), *self.by_path.get(self.form(path), [])]

    def called(self, stem: str) -> list[str]:
        exact = [*self.by_stem.get(self.form(stem), []), *self.by_name.get(self.form(stem), [])]
        return exact or self.by_whole.get(self.form(stem), [])

    def mentions(self, base: str) -> bool:
        base = self.form(base)
        known = base in self.by_stem or base in self.by_name or base in self.by_whole
        return known or ("." in base and _ENDING.sub("", base) in self.by_stem)

    def find(self, called: str, folder: str) -> list[str]:
        called, folder = self.form(called), self.form(folder)
        for path in (f"{folder}/{called}", called):
            if path in self.by_path:
                return self.by_path[path]
        base = called.rpartition("/")[2]
        plain = _ENDING.sub("", base)
        near = self.by_name.get(base) or self.by_stem.get(base) or self.by_stem.get(plain) or self.by_whole.get(plain) or []
        if "/" in called:
            stem = _ENDING.sub("", called)
            near = [name for name in near if self._ends_with(name, stem) or called.endswith(f"/{self.form(name)}")]
        inside = [name for name in near if self.form(name).startswith(f"{folder}/")] if folder else near
        return inside or near

    def _ends_with(self, name: str, stem: str) -> bool:
        return f"/{self.form(name)}".rpartition(".")[0].endswith(f"/{stem}")
