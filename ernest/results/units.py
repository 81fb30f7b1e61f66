"""Work that is done once: a unit's result is kept as JSON, so that a run which was stopped goes on where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ernest.storage import write_text


def file_name(name: str) -> str:
    """A name as that of a file or a folder, without blanks and commas."""
    return name.replace(" ", "-").replace(",", "")


def kept(path: Path, settings: dict[str, Any], make: Callable[[], Any]) -> Any:
    """What `make` returned, as JSON knows it, when it was run with these settings; it runs where that has not been yet."""
    settings = json.loads(json.dumps(settings))
    if path.is_file():
        done = json.loads(path.read_text(encoding="utf-8"))
        if done["settings"] == settings:
            return done["result"]
    result = json.loads(json.dumps(make()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"settings": settings, "result": result}))
    return result
