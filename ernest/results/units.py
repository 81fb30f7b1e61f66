"""Work that is done once: a unit's result is kept as JSON, so that a run which was stopped goes on where it was."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ernest.storage import write_text

BASED_ON = "based-on.json"
"""Of a folder of work: the fingerprints of what it is based on."""


def file_name(name: str) -> str:
    """A name as that of a file or a folder, without blanks and commas."""
    return name.replace(" ", "-").replace(",", "")


def kept(path: Path, settings: dict[str, Any], make: Callable[[], Any]) -> Any:
    """What `make` returned, as JSON knows it, when it was run with these settings; it runs where that has not been yet."""
    settings = json.loads(json.dumps(settings))
    if path.is_file():
        done = _read(path)
        if done.get("settings") == settings and "result" in done:
            return done["result"]
    result = json.loads(json.dumps(make()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"settings": settings, "result": result}))
    return result


def based_on(build: Path, brought: Mapping[str, str]) -> None:
    """Notes, by their fingerprints, what the work in a folder is based on, where none is noted yet: results, examples and runs
    that are kept there are taken as they are.

    Raises ValueError, which names them, where it is based on others.
    """
    path = build / BASED_ON
    if not path.is_file():
        build.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(dict(brought), indent=1))
        return
    before = _read(path)
    if others := [name for name, value in brought.items() if before.get(name) != value]:
        raise ValueError(
            f"{build} holds work on another checkpoint (another {', '.join(others)}): name a new folder, --build FOLDER, or "
            "remove it"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error}; remove it, and its work is done again") from error
    return found if isinstance(found, dict) else {}
