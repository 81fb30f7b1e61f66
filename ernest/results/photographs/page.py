"""Writes the page of the rules of PP-LCNet on photographs, over seeds (Tables 6 to 9), and judges what they bring."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.outcome import Outcome, judged_known, table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, Difference, difference, spread
from ernest.results.photographs.training import RECIPE, accuracy, file_of, read_pictures
from ernest.results.photographs.variants import TABLES, VARIANTS
from ernest.results.units import kept
from ernest.storage import own_folder

NAME = "photographs"
BASE, FULL = "BaseNet", "+ dropout"
ADDED = tuple(pairwise([BASE, "+ h-swish", "+ 5×5", "+ SE", "+ 1280, no dropout", FULL]))
LEFT_OUT = ("h-swish → ReLU", "no SE", "3×3 everywhere", "no 1280 layer")
EARLY = ("SE in the first two", "SE in the middle two", "5×5 in the first half")
SAME = {"no 1280 layer": "+ SE"}
"""Networks that stand in two tables."""
WORDS = (
    "The ablation of PP-LCNet (arXiv 2109.15099, Tables 6 to 9) on photographs: x0.5 with strides fitted to 32×32, trained to "
    "the end on 20,000 pictures of CIFAR-10 and scored on 5,000 others, where the paper has ImageNet."
)
Tops = Mapping[str, Mapping[int, float]]
"""By variant and seed, top-1 in percent."""


def run_photographs(pictures: Path, build: Path, out: Path, tell: Callable[[str], None]) -> None:
    """Trains every variant, a seed after the other, and writes tables, picture, outcomes and page into `out` after each."""
    tops: dict[str, dict[int, float]] = {}
    with own_folder(build):
        learn, score = read_pictures(pictures)
        settings = {"recipe": asdict(RECIPE), "pictures": [learn.fingerprint, score.fingerprint]}
        for seed in SEEDS:
            for variant in [name for name in VARIANTS if name not in SAME]:
                folder = build / f"seed-{seed}"
                train = lambda variant=variant, seed=seed, folder=folder: accuracy(variant, seed, learn, score, folder)
                tops.setdefault(variant, {})[seed] = kept(folder / f"{file_of(variant)}.json", settings, train)
                tell(f"{NAME}: seed {seed}, {variant}: {tops[variant][seed]:.2f} %")
                write(tops, out)


# ------------------------------------------------------------------ what it says


def judge(tops: Tops) -> list[Outcome]:
    """Each rule added and each left out, and places early and late in the network, where both networks have a seed."""
    gains = {"all − none": _gain(tops, FULL, BASE)} | {new: _gain(tops, new, old) for old, new in ADDED}
    gains |= {f"all − ({name})": _gain(tops, FULL, name) for name in LEFT_OUT}
    places = {f"late − {name}": _gain(tops, FULL, name) for name in EARLY}
    return [
        *_outcome("the same on photographs (CIFAR-10), trained to the end, three seeds", "as above", gains),
        *_outcome("SE and 5×5 pay at the end of the network", "63.14 against 61.73; 62.70", places),
    ]


def _outcome(claim: str, paper: str, gains: Mapping[str, Difference | None]) -> list[Outcome]:
    there = {name: gain for name, gain in gains.items() if gain is not None}
    ours = "points: " + "; ".join(f"{name} {gain}" for name, gain in there.items())
    return [Outcome(claim, paper, ours, judged_known([gain.is_above() for gain in there.values()]))] if there else []


def _gain(tops: Tops, one: str, other: str) -> Difference | None:
    """In points, paired by seed."""
    mine, theirs = (tops.get(SAME.get(name, name), {}) for name in (one, other))
    shared = sorted(set(mine) & set(theirs))
    return difference([mine[seed] - theirs[seed] for seed in shared]) if shared else None


# ------------------------------------------------------------------ the page


def write(tops: Tops, out: Path) -> None:
    """The page of what has been trained so far, and what lies beside it."""
    rows = [(name, seed, f"{top:.2f}") for name, by_seed in tops.items() for seed, top in by_seed.items()]
    write_csv(out / NAME / "top1.csv", ("variant", "seed", "top-1 %"), rows)
    write_picture(out / NAME / "top1.png", _picture(tops))
    outcomes = judge(tops)
    write_outcomes(out / NAME, outcomes)
    parts = [
        verdicts(outcomes, paper="the paper's figures"),
        f"![Top-1 of every variant, a point for each seed]({NAME}/top1.png)",
    ]
    for title, lines in TABLES.items():
        rows = [(line.shown or line.variant, f"{line.top1:.2f}", len(mine), spread(list(mine.values()), 2))
                for line in lines if (mine := tops.get(SAME.get(line.variant, line.variant), {}))]  # fmt: skip
        parts += [f"**{title}**", table(("x0.5", "paper, top-1 %", "seeds", "photographs, top-1 %"), rows)] if rows else []
    parts.append(
        f"{RECIPE.epochs} epochs, batches of {RECIPE.batch}, SGD with a cosine from {RECIPE.rate * RECIPE.batch / 2048:g}, crops "
        f"and flips; the last epoch counts. Means and deviations of seeds; of differences the half of the 95 % interval. "
        f"Numbers: [top1.csv]({NAME}/top1.csv)."
    )
    command = f"ernest results {NAME} --photographs ZIP"
    write_page(out / f"{NAME}.md", "The rules of PP-LCNet on photographs", WORDS, command, "\n\n".join(parts))


def _picture(tops: Tops):
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for place, by_seed in enumerate(tops.values()):
        axes.plot(list(by_seed.values()), [place] * len(by_seed), "o", color=PALETTE["accent"], markersize=5)
    axes.set_yticks(range(len(tops)), list(tops), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("top-1, %", fontsize=9)
    axes.tick_params(labelsize=8)
    return figure
