"""Writes the page of what a trained model does at work: drafts beside plain decoding, and experts replayed or chosen again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from ernest.report.routing import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results import decoding
from ernest.results.outcome import Outcome, judged, table, write_outcomes
from ernest.results.pages import write_page
from ernest.results.units import kept
from ernest.storage import fingerprint, own_folder

NAME = "inference"
WORDS = (
    "What the report of ERNIE 5.0 says of a trained model at work, tried on the demo's: the head of the token after next drafts "
    "texts (§2.1, §3.2), and in reinforcement learning the trainer takes the experts that the sampler chose (§5.4)."
)
FIVEFOLD = 5.0
"""So many times smaller the divergence is to be where experts are replayed."""
Turns = Mapping[str, Sequence[float]]
Divergences = Mapping[str, Mapping[str, float]]


def run_inference(checkpoint: Path, build: Path, out: Path) -> None:
    """Measures what has not been, and writes tables, picture, outcomes and page into `out`."""
    settings = {"weights": fingerprint(checkpoint / "model.safetensors")}
    with own_folder(build):
        turns = kept(build / "drafts.json", settings | {"texts": decoding.TEXTS}, lambda: decoding.drafted(checkpoint))
        apart = kept(build / "replay.json", settings | {"records": decoding.RECORDS}, lambda: decoding.replayed(checkpoint))
    write(turns, apart, out)


def judge(turns: Turns, apart: Divergences) -> list[Outcome]:
    """Drafts are to be faster in every turn, and the divergence to be a fifth at every precision."""
    ratios = {way: speeds(turns, way) for way in turns if way != "plain"}
    best = max(ratios, key=lambda way: median(ratios[way]))
    drafts = "; ".join(
        f"{way}: {median(each):.2f} times, {min(each):.2f} to {max(each):.2f} over {len(each)} turns"
        for way, each in ratios.items()
    )
    factors = {name: one["choosing"] / one["replaying"] for name, one in apart.items()}
    replay = "; ".join(
        f"{name}: {one['choosing']:.1e} → {one['replaying']:.1e} nats, {factors[name]:.1f} times less; "
        f"{one['choices that differ']:.2%} of the choices differ"
        for name, one in apart.items()
    )
    return [
        Outcome("it decodes faster", "no figure", drafts, judged(sum(one > 1 for one in ratios[best]), len(ratios[best]))),
        Outcome("it lowers the divergence of a sampler of lower precision", "no figure", replay,
                judged(sum(one >= FIVEFOLD for one in factors.values()), len(factors))),
    ]  # fmt: skip


def speeds(turns: Turns, way: str) -> list[float]:
    """How many times as fast as plain decoding, turn by turn."""
    return [plain / spent for plain, spent in zip(turns["plain"], turns[way], strict=True)]


def write(turns: Turns, apart: Divergences, out: Path) -> None:
    """The page and what lies beside it."""
    rows = [(f"seconds a token, {way}", turn, value) for way, each in turns.items() for turn, value in enumerate(each)]
    rows += [(f"{name}, {what}", 0, value) for name, one in apart.items() for what, value in one.items()]
    write_csv(out / NAME / "measures.csv", ("measure", "turn", "value"), rows)
    figure = new_figure(5, 2.4)
    axes = figure.subplots()
    for place, way in enumerate(turns):
        axes.plot([1e3 * value for value in turns[way]], [place] * len(turns[way]), "o", color=PALETTE["accent"], markersize=5)
    axes.set_yticks(range(len(turns)), list(turns), fontsize=8)
    axes.set_xlabel("milliseconds of the processor for a token, turn by turn", fontsize=9)
    axes.set_xlim(left=0)
    axes.tick_params(labelsize=8)
    write_picture(out / NAME / "drafts.png", figure)
    outcomes = judge(turns, apart)
    write_outcomes(out / NAME, outcomes)
    verdicts = table(("claim", "the report's figures", "here", "verdict"),
                     [(one.claim, one.paper, one.ours, f"**{one.verdict}**") for one in outcomes])  # fmt: skip
    told = (
        f"Drafts: {decoding.TEXTS} held-out texts, one at a time, greedy, {decoding.ROUNDS} turns in which all ways come once, "
        f"one thread. Divergences: KL(trainer ‖ sampler) of a token, bit or code under teacher forcing, on {decoding.RECORDS} "
        f"held-out records of each of {', '.join(decoding.REPLAYED)}; the trainer is in float32. Numbers: "
        f"[measures.csv]({NAME}/measures.csv)."
    )
    picture = f"![Milliseconds a token without drafts and with them]({NAME}/drafts.png)"
    write_page(
        out / f"{NAME}.md", "A trained model at work", WORDS, f"ernest results {NAME}", "\n\n".join([verdicts, picture, told])
    )
