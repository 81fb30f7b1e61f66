"""The files of a folder, those within its tar archives included, by their paths with "/" between the parts."""

import codecs
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernest.data.mediafile import MediaFile

_IGNORED = (
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "icon\r", "__macosx"),
    *("@eadir", "#recycle", "@recycle", "#snapshot", "lost+found", "picasa.ini", "node_modules", "__pycache__"),
)
"""What Windows, macOS, network disks, Linux and programs leave: thumbnails, bins and caches."""
_LEFT_OVER = re.compile(r"\.|~\$|.*(~|\.part|\.crdownload|\.tmp|:zone\.identifier|:encryptable)$", re.IGNORECASE | re.DOTALL)
"""Names of hidden files, of others' locks and copies, of what was not loaded whole, and of what NTFS kept beside a file."""
_PACKED = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""How files begin that gzip, bzip2, xz and zstd wrote."""
_FOREIGN_WORDS = re.compile(rb"[\x80-\xff]{3,}")


@dataclass(frozen=True)
class Tree:
    """`members` are the places (archive, offset, size) of what lies within archives; all other names are files."""

    folder: Path
    names: list[str]
    members: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def file(self, name: str) -> MediaFile:
        path = os.path.join(self.folder, name)
        archive, offset, size = self.members.get(name, (path, 0, None))
        return MediaFile(path, archive, offset, size)

    def text(self, name: str) -> str:
        """The file as text. Raises ValueError that names it."""
        with self.file(name).open() as content:
            return decoded(content.read(), str(self.folder / name))


def read_tree(folder: Path) -> Tree:
    """Everything under `folder`, sorted; hidden and system files are passed over. A tar is read once, for its list."""
    names: list[str] = []
    members: dict[str, tuple[str, int, int]] = {}
    faults: list[str] = []
    for name in _files(folder, faults):
        if not name.lower().endswith((".tar", ".tar.gz", ".tgz")):
            packed = name.lower().endswith(_PACKED)
            faults += [f"{folder / name}: is packed: unpack it, and what it holds is read"] if packed else []
            names += [] if packed else [name]
            continue
        try:
            inside = dict(_members(folder / name))
        except (OSError, EOFError, tarfile.TarError, ValueError) as error:
            faults.append(f"{folder / name}: not an archive that can be read: {error}")
            continue
        names += [f"{name}/{member}" for member in inside]
        members |= {f"{name}/{member}": (str(folder / name), *place) for member, place in inside.items()}
    faults += [f"{_shown(folder / name)}: its name is not in UTF-8: rename it" for name in names if not is_unicode(name)]
    return Tree(folder, sorted(filter(is_unicode, names)), members, tuple(faults))


def decoded(content: bytes, name: str) -> str:
    """Text in UTF-8, in UTF-16 or 32 with their marks, or else in Windows-1252. Raises ValueError for what is none of these, as
    where most of the letters beyond ASCII stand three or more together: so do Russian and Chinese in encodings of their own."""
    marks = {
        codecs.BOM_UTF8: "utf-8-sig",
        codecs.BOM_UTF32_LE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16",
        codecs.BOM_UTF16_BE: "utf-16",
    }
    marked = next((encoding for mark, encoding in marks.items() if content.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        foreign = encoding == "cp1252" and sum(map(len, _FOREIGN_WORDS.findall(content)))
        if "\0" not in text and 2 * foreign <= sum(byte > 127 for byte in content):
            return text
    raise ValueError(f"{name}: cannot be read as text: neither UTF-8, UTF-16 nor Windows-1252: save it as UTF-8")


def _files(folder: Path, faults: list[str]) -> Iterator[str]:
    """Files by their names in the folder; links are followed, out of the folder as well, but into no folder twice."""
    top = os.path.realpath(folder)
    entered = {top}
    for at, folders, files in os.walk(folder, onerror=lambda error: _note(error, faults), followlinks=True):
        inside = os.path.relpath(at, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        folders[:] = [name for name in sorted(folders) if not is_hidden(name) and _enters(os.path.join(at, name), top, entered)]
        for name in files:
            path = os.path.join(at, name)
            if is_hidden(name):
                continue
            if os.path.isfile(path):
                yield prefix + name
            elif os.path.islink(path):
                faults.append(f"{_shown(path)}: a link to {_shown(os.readlink(path))}, which is not there")


def _note(error: OSError, faults: list[str]) -> None:
    faults.append(f"{_shown(error.filename)}: a folder that cannot be read: {error.strerror}")


def _enters(path: str, top: str, entered: set[str]) -> bool:
    """Whether a folder is to be gone through here: a link not where it leads to what the folder `top` holds, or lies in."""
    real = os.path.realpath(path)
    within = os.path.commonpath([real, top]) in (real, top)
    if real in entered or (os.path.islink(path) and within):
        return False
    entered.add(real)
    return True


def is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair, as JSON may, and names of files that are not in UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(path: str | Path) -> str:
    """A path as it can be printed, whatever its bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of that name is the system's and not the user's."""
    return name.lower() in _IGNORED or bool(_LEFT_OVER.match(name))


def _members(archive: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    with archive.open("rb") as file:
        if file.read(6).startswith(_COMPRESSED):
            raise ValueError("it is compressed: make it a plain .tar, whose members are read where they lie")
    with tarfile.open(archive, "r:") as file:
        listed: Any = file
        for member in file:
            name = member.name.removeprefix("./")
            if member.isreg() and not member.sparse and not any(is_hidden(part) for part in name.split("/")):
                yield name, (member.offset_data, member.size)
            listed.members = []  # or it would keep them all
