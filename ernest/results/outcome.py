"""What came out of trying a claim, and what may be said of it: outcomes are kept as CSV beside the pages that explain them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ernest.report.figures import write_csv

Verdict = Literal["holds", "holds in part", "doesn't hold here", "can't be judged here", "not run yet"]
VERDICTS: tuple[Verdict, ...] = ("holds", "holds in part", "doesn't hold here", "can't be judged here", "not run yet")
FILE = "outcomes.csv"
HEADER = ("claim", "paper", "ours", "verdict")


@dataclass(frozen=True)
class Outcome:
    """Of the claim with this name: the paper's figures, ours, and the verdict."""

    claim: str
    paper: str
    ours: str
    verdict: Verdict


def judged(hits: int, of: int) -> Verdict:
    """The verdict where so many of a claim's comparisons came out as it says."""
    if of == 0:
        return "can't be judged here"
    return "holds" if hits == of else "holds in part" if 2 * hits >= of else "doesn't hold here"


def judged_known(met: Sequence[bool | None]) -> Verdict:
    """The verdict by those of a claim's comparisons that can be judged; None is one that can't."""
    known = [one for one in met if one is not None]
    return judged(sum(known), len(known))


def without_figure(claim: str, ours: str, met: Sequence[bool | None]) -> Outcome:
    """The outcome of a claim for which its paper has no figure, by the comparisons here."""
    return Outcome(claim, "no figure", ours, judged_known(met))


def judged_places(wins: int, of: int) -> Verdict:
    """The verdict on a claim that does not say where it is true, from the places where it is."""
    return "holds" if wins == of else "holds in part" if wins else "doesn't hold here"


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Keeps the outcomes of a target in its folder."""
    write_csv(folder / FILE, HEADER, [(one.claim, one.paper, one.ours, one.verdict) for one in outcomes])


def read_outcomes(folder: Path) -> dict[str, Outcome]:
    """The outcomes of a target by claim; none where it has not been run. Raises ValueError for a file of another form."""
    path = folder / FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if tuple(header) != HEADER or any(len(row) != len(HEADER) or row[3] not in VERDICTS for row in rows):
        raise ValueError(f"{path}: damaged: expected rows of {', '.join(HEADER)}")
    return {claim: Outcome(claim, paper, ours, cast(Verdict, verdict)) for claim, paper, ours, verdict in rows}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)])


def verdicts(outcomes: Sequence[Outcome], claim: str = "claim", paper: str = "the report's figures") -> str:
    """The table of what became of the claims of a target, under what claims and figures are called in its paper."""
    rows = [(one.claim, one.paper, one.ours, f"**{one.verdict}**") for one in outcomes]
    return table((claim, paper, "here", "verdict"), rows)
