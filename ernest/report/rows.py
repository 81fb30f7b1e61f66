"""The file of measured figures, one JSON line each: `row, value, bar, ok, threads, command`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ernest.storage import write_text

ROWS = Path("bench/model.jsonl")
"""The file of the unified model's figures, in the folder of whatever was built."""


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows to the file; they replace those that the same commands wrote before."""
    commands = {row["command"] for row in rows}
    before = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    others = [row for row in before if row["command"] not in commands]
    write_text(path, "".join(json.dumps(row) + "\n" for row in [*others, *rows]))
