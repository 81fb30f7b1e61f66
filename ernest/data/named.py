"""Finds the files of a folder by what a table, or a text beside them, calls them."""

import posixpath
import re
from collections.abc import Callable, Sequence
from unicodedata import normalize

_ENDING = re.compile(r"\.(?=\w*[a-z])\w{1,5}$", re.IGNORECASE)
"""The ending of a file's name, which its other version may have instead: with a letter, or 1.5 would be a version of 1."""


class Index:
    """Finds media by what a table calls them: the path, its end, the name, with or without the ending; else whatever the case."""

    def __init__(self, media: Sequence[str]) -> None:
        # Systems write one letter as one code or as several: é, or e and ´.
        forms: tuple[Callable[[str], str], ...] = (
            lambda name: normalize("NFC", name),
            lambda name: normalize("NFC", name).lower(),
        )
        self.names = [_Names(media, form) for form in forms]

    def find(self, called: str, folder: str) -> list[str]:
        """All files that may be meant in a table that lies in `folder`."""
        called = posixpath.normpath(called.strip().replace("\\", "/")) if called.strip() else ""
        if ".." in called.split("/"):
            called, folder = posixpath.normpath(posixpath.join(folder, called)), ""
        if not called or called.startswith(".."):
            return []
        numbered = re.sub(r"(\.\w+)#\d+$", r"\1", called)  # the captions of Flickr: 1000.jpg#0
        for one in dict.fromkeys((called, numbered)):
            for names in self.names:
                if found := names.find(one, folder):
                    return found
        return []

    def beside(self, folder: str, stem: str) -> list[str]:
        """The files of a text that is called `stem` and an ending, in any folder; those in its own alone where there are some."""
        for names in self.names:
            near = names.called(stem)
            if near:
                return [name for name in near if name.rpartition("/")[0] == folder] or near
        return []


class _Names:
    """The files by their names in one `form` of writing."""

    def __init__(self, media: Sequence[str], form: Callable[[str], str]) -> None:
        self.form = form
        self.by_path: dict[str, list[str]] = {}
        self.by_name: dict[str, list[str]] = {}
        self.by_stem: dict[str, list[str]] = {}
        for name in media:
            base = name.rpartition("/")[2]
            for table, key in ((self.by_path, name), (self.by_name, base), (self.by_stem, base.rpartition(".")[0] or base)):
                table.setdefault(form(key), []).append(name)

    def called(self, stem: str) -> list[str]:
        return [*self.by_stem.get(self.form(stem), []), *self.by_name.get(self.form(stem), [])]

    def find(self, called: str, folder: str) -> list[str]:
        called, folder = self.form(called), self.form(folder)
        for path in (f"{folder}/{called}", called):
            if path in self.by_path:
                return self.by_path[path]
        base = called.rpartition("/")[2]
        near = self.by_name.get(base) or self.by_stem.get(base) or self.by_stem.get(_ENDING.sub("", base)) or []
        if "/" in called:
            stem = _ENDING.sub("", called)
            near = [name for name in near if self._ends_with(name, stem) or called.endswith(f"/{self.form(name)}")]
        inside = [name for name in near if self.form(name).startswith(f"{folder}/")] if folder else near
        return inside or near

    def _ends_with(self, name: str, stem: str) -> bool:
        return f"/{self.form(name)}".rpartition(".")[0].endswith(f"/{stem}")
