"""Remembers in a folder's run.json which files a run wrote there, so that a later run replaces those and no others."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ernest.storage import check_writable, fingerprint, write_text

RECORD = "run.json"


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Raise ValueError, before a run, where `folder` cannot hold files of these names without a loss.

    A file is replaced only as it was written: one that another program made, or that was changed since, is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    check_writable(folder / RECORD)
    known = read_record(folder)["files"]
    for name in names:
        if (folder / name).is_file() and known.get(name) != fingerprint(folder / name):
            changed = "has changed since a run wrote it" if name in known else "was not written by a run"
            raise ValueError(f"{folder / name} {changed} and would be lost: move it, or choose another folder with --out")


def remember(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Adds a file that has just been written to the folder's record, with how it was made."""
    path = folder / name
    files = read_record(folder)["files"] | ({name: fingerprint(path)} if path.is_file() else {})
    write_text(folder / RECORD, json.dumps({"format": FORMAT, "run": facts, "files": files}, indent=1))


def read_record(folder: Path) -> dict[str, Any]:
    """The folder's record, or an empty one. Raises ValueError for a run.json of another program."""
    path = folder / RECORD
    if not path.exists():
        return {"files": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] == FORMAT and isinstance(record["files"], dict):
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path} was not written by a run and would be lost: move it, or choose another folder with --out")


FORMAT = "ernest phasefield run"
