"""Writes what parts of the policy gradient are worth: tables, curves, and verdicts on the report's claims."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.outcome import Outcome, table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, seeds_in_words
from ernest.results.rl import replay
from ernest.results.rl.methods import (
    BOUNDS,
    FILMS,
    HINTS,
    LOGGED,
    NOISE,
    PAIRS,
    WITHOUT_HINTS,
    WITHOUT_WPSM,
    WORKED,
    WPSM,
    Arm,
    Trial,
    arms,
    before_training,
    train_arm,
)
from ernest.results.rl.methods_judged import (
    WINDOW,
    Divergences,
    Seeds,
    before,
    drift,
    hard,
    judge,
    listed,
    trial_of,
    whole,
    windows,
)
from ernest.results.rl.study import BEFORE, PAGE, TITLE, Study
from ernest.results.units import kept
from ernest.storage import fingerprint, own_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "rl-methods"


def run_methods(study: Study, build: Path, out: Path) -> None:
    """Trains every arm, a seed after the other, and writes tables, picture, outcomes and page into `out` after each."""
    with own_folder(build):
        begun = study.fine_tuned()
        weights = {"weights": fingerprint(begun / "model.safetensors")}
        apart = kept(build / "replay.json", weights, lambda: replay.divergences(begun, study.judges))
        found: list[dict[str, Arm]] = []
        for seed in SEEDS:
            found.append({})
            for name, (trial, recipe) in arms(seed).items():
                if name in PAIRS.values():
                    found[-1][before(name)] = before_training(study, build, begun, name, trial, recipe)
                found[-1][name] = train_arm(study, build, begun, name, trial, recipe)
                study.tell(f"{name}, seed {seed}: {np.mean(found[-1][name].pool):.3f} pass")
                _write(found, apart, out)


def _write(found: Seeds, apart: Divergences, out: Path) -> None:
    rows = [
        (seed, name, step, *values)
        for seed, one in enumerate(found)
        for name, arm in one.items()
        for step, values in enumerate(zip(*arm.curves.values(), strict=True))
    ]
    write_csv(out / NAME / "curves.csv", ("seed", "run", "update", *LOGGED), rows)
    write_picture(out / NAME / "curves.png", _picture(found))
    outcomes = judge(found, apart)
    write_outcomes(out / NAME, outcomes)
    write_page(out / f"{PAGE}.md", TITLE, "", f"ernest results {NAME}", _block(found, apart, outcomes))


def _block(found: Seeds, apart: Divergences, outcomes: Sequence[Outcome]) -> str:
    blocks = [
        "## Parts of the policy gradient",
        verdicts(outcomes),
        f"From the fine-tuned model of the table above; {seeds_in_words(len(found))} of {len(SEEDS)}. First and last are means "
        f"over {WINDOW} updates. Numbers: [curves.csv]({NAME}/curves.csv).",
        f"![Entropy and passes over the updates]({NAME}/curves.png)",
    ]  # fmt: skip
    if some := whole(found, *BOUNDS):
        blocks += [
            f"**Masks of a mismatch**: films by laws, {_size(FILMS)}, with noise of {NOISE} of each matrix's spread on the "
            f"weights of the sampler; bounds that leave out alike at first, {_bounds()}. Counted are {FILMS.answers} films of "
            f"each family.",
            table(("method", "left out", "answers removed whole", "entropy, first", "entropy, last", "entropy, farthest",
                   "passed, first", "passed, last", "passed, counted"), [_mask_row(some, name) for name in BOUNDS]),
        ]  # fmt: skip
    rows = [row for name, other in PAIRS.items() if (some := whole(found, name, other)) for row in _pair_rows(some, name)]
    if rows:
        blocks += [
            f"**Hard prompts**: families of films of which at most {FILMS.hard} pass before, {_size(FILMS)}; and questions with "
            f"workings of which none of {WORKED.answers} answers passes, {_size(WORKED)}. All are asked without hints.",
            table(("task", "run", "hard ones", "hard prompts", "the others", "entropy, last", "weight well learned"), rows),
        ]
    replayed = [
        (pair, task, f"{plain:.1e}", f"{same:.1e}", f"{replay.factors(apart, pair)[task]:.1f}")
        for pair, by_task in apart.items() for task, (plain, same) in by_task.items()
    ]  # fmt: skip
    blocks += [
        "**Replay**: KL(sampler | trainer) at the same weights, in nats per token, bit or code.",
        table(("sampler, trainer", "task", "experts chosen anew", "replayed", "times smaller"), replayed),
    ]
    return "\n\n".join(blocks)


def _mean(values: Iterable[float | np.floating]) -> float:
    return float(np.mean([float(value) for value in values]))


def _curve(found: Seeds, name: str, which: str, at: int) -> float:
    return _mean(windows(one[name].curves[which])[at] for one in found)


def _mask_row(found: Seeds, name: str) -> tuple[str, ...]:
    shares = [f"{_mean(np.mean(one[name].curves[which]) for one in found):.4f}" for which in ("masked", "removed")]
    entropy, passed = ([f"{_curve(found, name, which, at):.3f}" for at in (0, -1)] for which in ("entropy", "passed"))
    counted = f"{_mean(np.mean(one[name].pool) for one in found):.3f}"
    return (name, *shares, *entropy, listed(drift(one[name]) for one in found), *passed, counted)


def _pair_rows(found: Seeds, name: str) -> list[tuple[str, ...]]:
    """What the pair began with, the run without, and that with."""
    trial, without = trial_of(name), PAIRS[name]
    rows = []
    for run in (before(without), without, name):
        pools = [(np.asarray(one[run].pool), hard(one, name)) for one in found]
        shares = [_share([pool[some] for pool, some in pools]), _share([pool[~some] for pool, some in pools])]
        curves = bool(found[0][run].curves)
        entropy = f"{_curve(found, run, 'entropy', -1):.3f}" if curves else "–"
        learned = f"{_mean(np.mean(one[run].curves['well learned']) for one in found):.3f}" if curves else "–"
        count = listed((some.sum() for _, some in pools), "d")
        label = run if curves else BEFORE
        rows.append((trial.task.task, label, f"{count} of {trial.task.pool}", *shares, entropy, learned))
    return rows


def _share(values: Sequence[np.ndarray]) -> str:
    return f"{np.concatenate(values).mean():.3f}" if sum(map(len, values)) else "–"


def _size(trial: Trial) -> str:
    return f"{trial.updates} updates of {trial.prompts} prompts with {trial.samples} answers at a rate of {trial.rate:g}"


def _bounds() -> str:
    return ", ".join(f"{name} {bounds[0]} to {bounds[1]}" for name, bounds in BOUNDS.items() if bounds)


def _picture(found: Seeds) -> "Figure":
    """Entropy above and passes below, of the runs with a mismatch and of the two pairs with a pool, as far as they were made."""
    groups = {"films, a mismatch": tuple(BOUNDS), "films": (WITHOUT_WPSM, WPSM), "workings": (WITHOUT_HINTS, HINTS)}
    shown = {title: [name for name in names if whole(found, name)] for title, names in groups.items()}
    shown = {title: names for title, names in shown.items() if names}
    figure = new_figure(3.4 * max(1, len(shown)), 5)
    axes = figure.subplots(2, max(1, len(shown)), sharex="col", squeeze=False)
    colours = [PALETTE[name] for name in ("video", "accent", "image")]
    for column, (title, names) in enumerate(shown.items()):
        for name, colour in zip(names, colours, strict=False):
            for row, which in enumerate(("entropy", "passed")):
                values = np.mean([windows(one[name].curves[which]) for one in whole(found, name)], axis=0)
                axes[row, column].plot(WINDOW * (np.arange(len(values)) + 0.5), values, color=colour, label=name)
        axes[0, column].set_title(title, fontsize=9)
        axes[1, column].set_xlabel("update", fontsize=9)
        axes[0, column].legend(fontsize=8, frameon=False)
    for row, label in enumerate(("entropy, nats per bit or token", "share of answers that pass")):
        axes[row, 0].set_ylabel(label, fontsize=9)
    for one in axes.flat:
        one.tick_params(labelsize=8)
    return figure
