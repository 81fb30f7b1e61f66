"""`python -m benchmarks.row_keys [FOLDER]`: compares the names of the rows of quick runs with those in `row_keys.json`.

FOLDER is where `python -m benchmarks.lcnet --quick` and `python -m benchmarks.phasefield --quick` wrote. Rows of instruction
sets that this processor lacks, of packages that are not installed and of other numbers of threads show as differences.
"""

import json
import sys
from pathlib import Path

KEYS = json.loads(Path(__file__).with_suffix(".json").read_text())
"""`templates`: all that the code can write, with {} for what is put in; `quick`: by wing and part, what a quick run writes."""


def written(folder: Path, wing: str) -> dict[str, list[str]]:
    """Names of rows by part."""
    found: dict[str, list[str]] = {}
    for line in (folder / f"{wing}.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["command"].split()[-1], []).append(row["row"])
    return found


def main(folder: Path) -> int:
    status = 0
    for wing, parts in KEYS["quick"].items():
        found = written(folder, wing)
        for part in parts.keys() | found.keys():
            known, there = set(parts.get(part, ())), set(found.get(part, ()))
            for sign, names in (("missing", known - there), ("new", there - known)):
                for name in sorted(names):
                    print(f"{wing}, {part}: {sign}: {name}")
                    status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/bench/quick")))
