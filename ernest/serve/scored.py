"""What the run that made a checkpoint has measured of it, for the playground: scores of its sub-models, and its report."""

import json
from pathlib import Path
from typing import Any

SIZES = ("layers", "experts", "top_k")


def report_of(checkpoint: Path) -> Path | None:
    """The page that `ernest demo` wrote beside a checkpoint, with scores and samples; None where there is none."""
    page = checkpoint.resolve().parent / "report.html"
    return page if checkpoint.resolve().name == "model" and page.is_file() else None


def measured_sizes(checkpoint: Path) -> list[dict[str, Any]]:
    """The sizes whose scores stand in the findings beside a checkpoint, with these scores by direction, from 0 to 1.

    Findings are only shown: from a folder without any, or with others than expected, nothing is.
    """
    if report_of(checkpoint) is None:
        return []
    try:
        rows = json.loads((checkpoint.resolve().parent / "findings" / "findings.json").read_text(encoding="utf-8"))["submodels"]
        return [{name: int(row[name]) for name in SIZES} | {"scores": _scores(row["scores"])} for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _scores(scores: dict[str, Any]) -> dict[str, float]:
    return {str(name): round(float(value), 3) for name, value in scores.items()}
