"""`python -m benchmarks.readme [BUILD]`: writes the demo's score table between the markers of README.md."""

import re
import sys
from pathlib import Path

from ernest.evaluation.results import FULL, Findings, load
from ernest.report.tables import bar, directions, figure

COLUMNS = (
    *("direction, held-out records", "verifier", "bar", "score", "half-size sub-model"),
    *("verifier on true records", "on reconstructions"),
)


def block(findings: Findings) -> str:
    """The table in Markdown, with the run it comes from."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for direction, by_system in directions(findings):
        full, half = by_system[FULL], by_system.get("half")
        missed = " (missed)" if full.ok is False else ""
        cells = direction, full.verifier, bar(full), figure(full.value) + missed, figure(half.value if half else None)
        lines.append("| " + " | ".join((*cells, figure(full.ceiling_true), figure(full.ceiling_rebuilt))) + " |")
    minutes = sum(stage.wall for stage in findings.stages if not stage.within) / 60
    facts = findings.facts
    return "\n".join([*lines, "", f"Seed {facts['seed']}, {facts['machine']}, {minutes:.0f} minutes in all; {facts['speed']}."])


def main(build: Path, readme: Path = Path("README.md")) -> None:
    text = readme.read_text()
    pattern = re.compile(r"(<!-- results: begin[^\n]*-->\n).*?(\n<!-- results: end -->)", re.DOTALL)
    table = block(load(build / "findings"))
    readme.write_text(pattern.sub(lambda found: found[1] + table + found[2], text))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/demo"))
