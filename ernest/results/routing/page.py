"""Writes the page of the claims on routing: pictures and tables of `ernest analyse`, and every finding with its verdict."""

from pathlib import Path

from ernest.checkpoint import load_learnt
from ernest.evaluation.specialisation import Specialisation, chance_overlap, shares_of_training, specialisation
from ernest.report.routing import write_routing
from ernest.results.outcome import Outcome, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.routing.findings import findings

NAME = "routing"
PICTURES = {
    "utilisation": "The share of a group's choices that each expert takes, in the first, a middle and the last layer",
    "overlap": "Intersection over union of the most used quarters of experts of two groups, in three layers",
    "entropy": "Normalised entropy of every layer, a line for each group",
    "information": "Bits that an expert tells of the group, by layer, beside shuffled labels",
}
WORDS = (
    "What experts specialise in, beside the report's findings (ERNIE 5.0 §6.4.1, Fig. 8 to 10). `ernest analyse CHECKPOINT` "
    "makes the pictures and tables of any model."
)


def run_routing(checkpoint: Path, out: Path) -> None:
    """Analyses a checkpoint, and writes its tables, pictures, outcomes and page into `out`."""
    found = specialisation(checkpoint)
    outcomes = findings(found)
    write_routing(out / NAME, found)
    write_outcomes(out / NAME, outcomes)
    write_page(
        out / f"{NAME}.md", "What experts specialise in", WORDS, f"ernest results {NAME}", _block(checkpoint, found, outcomes)
    )


def _shares(checkpoint: Path) -> str:
    return ", ".join(f"{group} {share:.0%}" for group, share in shares_of_training(checkpoint).items())


def _block(checkpoint: Path, found: Specialisation, outcomes: list[Outcome]) -> str:
    counted = ", ".join(f"{(found.labels == g).sum()} of {name}" for g, name in enumerate(found.groups))
    mean, quantile = chance_overlap(found.experts, found.top)
    pictures = [f"![{meaning}]({NAME}/{name}.png)" for name, meaning in PICTURES.items()]
    files = ", ".join(f"[{name}.csv]({NAME}/{name}.csv)" for name in PICTURES)
    return "\n\n".join(
        [
            f"One checkpoint, one seed: {found.layers} layers of {found.experts} experts, trained on "
            f"{len(load_learnt(checkpoint).directions)} directions; documents {counted}. Two random sets of {found.top} experts "
            f"share {mean:.3f}, one of 1,000 layers more than {quantile:.2f}. Where three figures stand, they are those of the "
            "first, a middle and the last layer.",
            verdicts(outcomes, "finding of the report"),
            *pictures,
            f"Share of the run's training positions: {_shares(checkpoint)}. Numbers: {files}.",
        ]
    )
