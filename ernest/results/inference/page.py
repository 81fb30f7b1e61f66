"""Writes the page of what a trained model does at work: drafts beside plain decoding, and one expert a token beside four."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.inference import decoding
from ernest.results.outcome import Outcome, judged, verdicts, without_figure, write_outcomes
from ernest.results.pages import write_page
from ernest.results.units import kept
from ernest.storage import fingerprint, own_folder

NAME = "inference"
WORDS = (
    "What the report of ERNIE 5.0 says of a trained model at work, tried on the demo's: the head of the token after next drafts "
    "texts (§2.1, §3.2), and fewer experts a token take less time (Table 12)."
)
FASTER = 1.15
"""So many times as fast a token is to be with one expert of four."""
Turns = dict[str, list[float]]


def run_inference(checkpoint: Path, build: Path, out: Path) -> None:
    """Measures what has not been, and writes tables, picture, outcomes and page into `out`."""
    weights = fingerprint(checkpoint / "model.safetensors")
    timed = {"weights": weights, "texts": decoding.TEXTS, "rounds": decoding.ROUNDS}
    with own_folder(build):
        turns = kept(build / "drafts.json", timed, lambda: decoding.drafted(checkpoint))
        cut = kept(build / "experts.json", timed, lambda: decoding.with_experts(checkpoint))
    write(turns, cut, out)


def judge(turns: Turns, cut: Turns) -> list[Outcome]:
    """Drafts are to be faster and one expert by a share of it, by the median of turns."""
    ratios = {way: _ratios(turns["plain"], turns[way]) for way in turns if way != "plain"}
    best = max(median(each) for each in ratios.values())
    drafts = "; ".join(f"{way}: {_in_words(each)}" for way, each in ratios.items())
    fewer = _ratios(cut["four experts"], cut["one expert"])
    return [
        without_figure("it decodes faster", drafts, [best > 1]),
        Outcome("and decodes more than 15 % faster", "> 15 %", f"one expert instead of four: {_in_words(fewer)}",
                judged(int(median(fewer) >= FASTER), 1)),
    ]  # fmt: skip


def _ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times as fast, turn by turn."""
    return [one / other for one, other in zip(slow, fast, strict=True)]


def _in_words(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} times as fast, {min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} turns"


def write(turns: Turns, cut: Turns, out: Path) -> None:
    """The page and what lies beside it."""
    rows = [(f"seconds a token, {way}", turn, value) for way, each in (turns | cut).items() for turn, value in enumerate(each)]
    write_csv(out / NAME / "measures.csv", ("measure", "turn", "value"), rows)
    write_picture(out / NAME / "drafts.png", _picture(turns))
    outcomes = judge(turns, cut)
    write_outcomes(out / NAME, outcomes)
    note = (
        f"Drafts: {decoding.TEXTS} held-out texts, one at a time, greedy, {decoding.ROUNDS} turns in which all ways come once, "
        f"one thread, seconds of the processor; experts likewise. Numbers: [measures.csv]({NAME}/measures.csv)."
    )
    picture = f"![Milliseconds a token without drafts and with them]({NAME}/drafts.png)"
    write_page(
        out / f"{NAME}.md",
        "A trained model at work",
        WORDS,
        f"ernest results {NAME}",
        "\n\n".join([verdicts(outcomes), picture, note]),
    )


def _picture(turns: Turns) -> Any:
    """The time of a token, a line for each way to draft and a point for each turn."""
    figure = new_figure(5, 2.4)
    axes = figure.subplots()
    for place, way in enumerate(turns):
        axes.plot([1e3 * value for value in turns[way]], [place] * len(turns[way]), "o", color=PALETTE["accent"], markersize=5)
    axes.set_yticks(range(len(turns)), list(turns), fontsize=8)
    axes.set_xlabel("milliseconds of the processor for a token, turn by turn", fontsize=9)
    axes.set_xlim(left=0)
    axes.tick_params(labelsize=8)
    return figure
