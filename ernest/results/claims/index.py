"""Writes the table over all claims: what a paper says, its number, ours, the command, and the verdict said plainly."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ernest.report.figures import write_csv
from ernest.results.claims.claim import ByTest, Claim, Places
from ernest.results.claims.ernie import ERNIE
from ernest.results.claims.lcnet import LCNET
from ernest.results.claims.marching import MARCHING
from ernest.results.outcome import VERDICTS, table
from ernest.results.pages import write_page

PAPERS: Mapping[str, Sequence[Claim]] = {
    "ERNIE 5.0 (arXiv 2602.04705)": ERNIE,
    "PP-LCNet (arXiv 2109.15099)": LCNET,
    "Energetic spectral-element time marching (arXiv 2406.16287)": MARCHING,
}
WORDS = (
    "What the three papers claim, tried at the scale of a desk. Every line has the paper's number where it can be read, ours, "
    "the command that tries it again, and a verdict; what has not been run says so."
)
HEADER = ("where", "claim", "the paper's number", "ours", "verdict", "again by")


def write_index(out: Path, build: Path, top: Path = Path()) -> Counter[str]:
    """Writes the page and its table into `out`; returns how many claims have which verdict."""
    places, blocks, lines = Places(out, build, top), [], []
    verdicts: Counter[str] = Counter()
    for paper, claims in PAPERS.items():
        rows = [_row(claim, places) for claim in claims]
        counts = Counter(row[4] for row in rows)
        verdicts += counts
        blocks += [f"## {paper}", _sum(counts), table(HEADER, [(*row[:4], f"**{row[4]}**", row[5]) for row in rows])]
        lines += [(paper, *row) for row in rows]
    write_csv(out / "index.csv", ("paper", *HEADER), lines)
    numbers = f"{len(lines)} claims: {_sum(verdicts)} As a table: [index.csv](index.csv)."
    write_page(out / "index.md", "Every claim, and what became of it", WORDS, "ernest results", "\n\n".join([numbers, *blocks]))
    return verdicts


def _row(claim: Claim, places: Places) -> tuple[str, str, str, str, str, str]:
    ours, verdict = claim.outcome(places)
    tests = claim.evidence.names if isinstance(claim.evidence, ByTest) else ()
    files = sorted({name.partition("::")[0] for name in tests})
    command = claim.command or (f"python -m pytest {' '.join(files)}" if files else "")
    return claim.where, claim.says, claim.number or "–", ours or "–", verdict, f"`{command}`" if command else "–"


def _sum(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]) + "."
