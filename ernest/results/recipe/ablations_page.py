"""Writes the page of the ablations: what each arm costs beside its base, and what that says of the report's claims."""

from pathlib import Path
from typing import Any

from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.outcome import table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import spread
from ernest.results.recipe import ablations, codec
from ernest.results.recipe.ablations_judged import CODECS, Found, Runs, judge
from ernest.results.recipe.arms import ALL, ARMS, BASE, MIXTURES, PICTURES, ROWS, SIZE, SOUNDS, TEXTS
from ernest.results.small_runs import Study, seed_by_seed

NAME = "ablations"
WORDS = (
    "Parts of the recipe of ERNIE 5.0, each left out or set otherwise in a run of its own, beside a run with all of them: the "
    "report claims them and shows no figure. Small networks and short runs on the demo's examples, so what seems to bring "
    "nothing here may still bring something later."
)
SHOWN = {
    PICTURES: ("bits, text→image", "bits, text→image, scale 1", "bits, text→image, scale 2", "bits, text→image, scale 3",
               "bits, text→image, flipped history", "text, image→text", "score, text→image", "score, image→text"),
    ALL: ("text, text", "text, image→text", "bits, text→image", "bits, text→video", "codes, level 1", "entropy, worst layer",
          "largest ÷ mean load, of a batch", "experts never chosen", "largest share of the gradient"),
    SOUNDS: ("codes, level 1", "codes, level 2", "codes, level 3", "codes, level 4", "text, speech→text"),
    TEXTS: ("text, text",),
    CODECS: ("word, code 1", "word, the others", "voice, code 1", "voice, the others"),
}  # fmt: skip
"""The measures of each base that the page tells; all of them are in the table beside it."""
HEADLINE = {PICTURES: ("bits, text→image", "text, image→text"), ALL: ("text, text", "bits, text→image"),
            SOUNDS: ("codes, level 2", "codes, level 4"), TEXTS: ("text, text",)}  # fmt: skip
"""The losses of the picture."""
COLOURS = tuple(PALETTE[name] for name in ("image", "accent", "text", "audio", "video"))
"""One for each of them."""


def run_ablations(study: Study, out: Path) -> None:
    """Trains and measures every arm and the codecs, and writes tables, picture, outcomes and page after each seed."""
    measure = lambda study, seed: ablations.measure(study, seed) | {CODECS: codec.measure(study.build, seed)}
    seed_by_seed(study, measure, lambda found: write(found, out))


def write(found: Found, out: Path) -> None:
    """Everything of the seeds so far, of which one may lack arms."""
    rows = [(seed, base, arm, measure, value) for seed, bases in enumerate(found) for base, arms in bases.items()
            for arm, measures in arms.items() for measure, value in measures.items()]  # fmt: skip
    write_csv(out / NAME / "measures.csv", ("seed", "base", "arm", "measure", "value"), rows)
    write_picture(out / NAME / "costs.png", _picture(Runs(found)))
    outcomes = judge(found)
    write_outcomes(out / NAME, outcomes)
    parts = [verdicts(outcomes),
             f"![What each arm costs of the loss of its base, in percent]({NAME}/costs.png)"]  # fmt: skip
    parts += [_block(base, found) for base in SHOWN]
    steps = ", ".join(f"{mixture.steps} of {name}" for name, mixture in MIXTURES.items())
    parts.append(
        f"Means over seeds, with their deviations where there is more than one; of differences the half of the 95 % interval. "
        f"Networks of {SIZE} layers, steps of {ROWS} rows: {steps}. Losses in nats a token, bit or code of "
        f"held-out records; scores of {ablations.DRAWN} pictures. Codecs: {codec.STEPS} steps on {codec.CLIPS} words. "
        f"Numbers: [measures.csv]({NAME}/measures.csv)."
    )
    write_page(out / f"{NAME}.md", "Ablations of the recipe", WORDS, f"ernest results {NAME}", "\n\n".join(parts))


def _block(base: str, found: Found) -> str:
    """The table of a base."""
    names = [arm.name for arm in ARMS if arm.base == base] or [codec.TAUGHT, codec.UNTAUGHT]
    there = {name: [seed[base][name] for seed in found if name in seed.get(base, {})] for name in names}
    rows = [(name, len(seeds), *(spread([one[measure] for one in seeds if measure in one]) for measure in SHOWN[base]))
            for name, seeds in there.items() if seeds]  # fmt: skip
    return table((base, "seeds", *SHOWN[base]), rows) if rows else f"{base}: not run yet."


def _picture(runs: Runs) -> Any:
    """Costs in percent of the base's loss, an arm a line."""
    figure = new_figure(7, 4.4)
    axes = figure.subplots()
    lines = [(f"{arm.base}: {arm.name}", measure, runs.costs(arm.base, arm.name, measure, relative=True))
             for arm in ARMS if arm.name != BASE for measure in HEADLINE[arm.base]]  # fmt: skip
    names = list(dict.fromkeys(name for name, _, cost in lines if cost is not None))
    colours = dict(zip(dict.fromkeys(measure for _, measure, _ in lines), COLOURS, strict=False))
    for measure, colour in colours.items():
        shown = [(names.index(name), 100 * cost.mean) for name, of, cost in lines if of == measure and cost is not None]
        axes.plot([value for _, value in shown], [place for place, _ in shown], "o", color=colour, label=measure, markersize=5)
    axes.axvline(0, color="0.7", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=10)  # one arm may lose many times what the others do
    axes.set_xlabel("loss beyond that of the base, %", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, frameon=False)
    return figure
