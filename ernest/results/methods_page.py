"""Writes what parts of the policy gradient are worth: tables, curves, and verdicts on the report's claims."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ernest.config.rl import RLRecipe
from ernest.report.routing import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results import replay
from ernest.results.methods import (
    BOUNDS,
    DRAWS,
    HINTS,
    LOGGED,
    MASKED,
    MASKED_UPDATES,
    NOISE,
    PLAIN,
    POOL,
    POOL_UPDATES,
    POOLED,
    PROMPTS,
    SAMPLES,
    SEEDS,
    WPSM,
    Arm,
    arms,
    measure,
    train_arm,
)
from ernest.results.outcome import Outcome, Verdict, judged, table, write_outcomes
from ernest.results.pages import write_page
from ernest.results.together import BEFORE, PAGE, TITLE, Study
from ernest.results.units import kept
from ernest.storage import fingerprint, own_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "rl-methods"
WINDOW = 10
"""Updates whose mean is a figure of the tables."""
STEADY, GAIN, LEARNT, UNLEARNT, CLOSER = 0.25, 0.05, 0.3, 0.05, 5.0
"""How far the entropy may move; what WPSM must add on hard prompts; what hard prompts must reach with hints, and not without; how
many times closer replayed experts must bring the trainer."""
FIG_6 = "it keeps the entropy where GSPO's explodes"
HARD_WPSM = "hard prompts gain by it"
HARD_HINTS = "hard prompts are learnt with hints and not without"
REPLAY = "it lowers the divergence of a sampler of lower precision"
Seeds = Sequence[Mapping[str, Arm]]
Divergences = Mapping[str, Mapping[str, Sequence[float]]]


def run_methods(study: Study, build: Path, out: Path) -> None:
    """Trains every arm, a seed after the other, and writes tables, picture, outcomes and page into `out` after each."""
    with own_folder(build):
        begun = study.fine_tuned()
        weights = {"weights": fingerprint(begun / "model.safetensors")}
        apart = kept(build / "replay.json", weights, lambda: replay.divergences(begun, study.judges))
        found: list[dict[str, Arm]] = []
        for seed in SEEDS:
            recipes = arms(seed)
            found.append({BEFORE: Arm({}, **_before(build, begun, recipes[PLAIN], weights))})
            for name, recipe in recipes.items():
                found[-1][name] = train_arm(study, build, begun, name, recipe)
                study.tell(f"{name}, seed {seed}: fresh questions {found[-1][name].passed:.3f}")
            _write(found, apart, out)


def _before(build: Path, begun: Path, recipe: RLRecipe, weights: Mapping[str, str]) -> dict[str, Any]:
    return kept(build / f"before-{recipe.seed}.json", {**weights, "draws": DRAWS}, lambda: measure(begun, recipe))


# ------------------------------------------------------------------ figures of a run


def windows(curve: Sequence[float]) -> np.ndarray:
    """Means over so many updates, one after the other."""
    whole = len(curve) // WINDOW * WINDOW
    return np.asarray(curve[:whole], dtype=float).reshape(-1, WINDOW).mean(1)


def drift(arm: Arm) -> float:
    """How far the entropy went from where it began, as a share of that, with its sign."""
    entropy = windows(arm.curves["entropy"])
    shares = entropy / entropy[0] - 1
    return float(shares[np.abs(shares).argmax()])


def hard(found: Mapping[str, Arm]) -> np.ndarray:
    """The prompts of the pool that none of the fine-tuned model's answers passed."""
    return np.asarray(found[BEFORE].pool) == 0


def gain(found: Mapping[str, Arm], one: str, other: str) -> tuple[float, float]:
    """By how much more one of two models passes hard prompts, and two standard errors of that over prompts."""
    some = hard(found)
    apart = np.asarray(found[one].pool)[some] - np.asarray(found[other].pool)[some]
    return float(apart.mean()), float(2 * apart.std(ddof=1) / len(apart) ** 0.5)


def _hard_share(found: Mapping[str, Arm], name: str) -> float:
    return float(np.asarray(found[name].pool)[hard(found)].mean())


# ------------------------------------------------------------------ verdicts


def judge(found: Seeds, apart: Divergences) -> list[Outcome]:
    """One outcome for each of the four claims."""
    return [_fig_6(found), _wpsm(found), _hints(found), _replay(apart)]


def _of_seeds(found: Seeds, verdict: Verdict) -> Verdict:
    """What fewer seeds than all say holds in part at most."""
    return "holds in part" if verdict == "holds" and len(found) < len(SEEDS) else verdict


def _fig_6(found: Seeds) -> Outcome:
    """MISC stays within a quarter of its entropy and loses no response whole, and the masked mean does not stay."""
    sound = [abs(drift(one["MISC"])) <= STEADY and max(one["MISC"].curves["removed"]) == 0 for one in found]
    moved = [abs(drift(one["GSPO+IcePop"])) > STEADY for one in found]
    ours = "; ".join(
        f"{name}: entropy {_list(drift(one[name]) for one in found)}, answers removed "
        f"{_list((float(np.mean(one[name].curves['removed'])) for one in found), '.3f')}, passed at the end "
        f"{_list((windows(one[name].curves['passed'])[-1] for one in found), '.3f')}"
        for name in BOUNDS
    )
    return Outcome(FIG_6, "a curve", f"{ours}; {_count(found)}", _of_seeds(found, judged(sum(sound + moved), 2 * len(found))))


def _wpsm(found: Seeds) -> Outcome:
    gains = [gain(one, WPSM, PLAIN) for one in found]
    sure = all(abs(value) > error for value, error in gains)
    verdict = judged(sum(value >= GAIN for value, _ in gains), len(gains)) if sure else "can't be judged here"
    ours = ", ".join(f"{value:+.3f} ± {error:.3f}" for value, error in gains)
    told = f"passes of hard prompts {ours} by it; entropy at the end {_ends(found, WPSM)}, without {_ends(found, PLAIN)}"
    return Outcome(HARD_WPSM, "a curve", f"{told}; {_count(found)}", _of_seeds(found, verdict))


def _hints(found: Seeds) -> Outcome:
    with_hints, without = ([_hard_share(one, name) for one in found] for name in (HINTS, PLAIN))
    hits = sum(value >= LEARNT for value in with_hints) + sum(value <= UNLEARNT for value in without)
    ours = (
        f"hard prompts pass, without a hint, {_list(with_hints, '.3f')} after training with hints and {_list(without, '.3f')} "
        f"without ({_list((hard(one).sum() for one in found), 'd')} of {POOL} prompts)"
    )
    return Outcome(HARD_HINTS, "a curve", f"{ours}; {_count(found)}", _of_seeds(found, judged(hits, 2 * len(found))))


def _replay(apart: Divergences) -> Outcome:
    found = {pair: replay.factors(apart, pair) for pair in apart if pair.startswith("bf16")}
    values = [value for of_pair in found.values() for value in of_pair.values()]
    words = "; ".join(f"{pair}: {', '.join(f'{task} {value:.1f}' for task, value in one.items())}" for pair, one in found.items())
    return Outcome(REPLAY, "no figure", f"times smaller, {words}", judged(sum(value >= CLOSER for value in values), len(values)))


def _list(values: Iterable[float], form: str = "+.0%") -> str:
    return " ".join(f"{value:{form}}" for value in values)


def _ends(found: Seeds, name: str) -> str:
    return _list((windows(one[name].curves["entropy"])[-1] for one in found), ".3f")


def _count(found: Seeds) -> str:
    return "one seed" if len(found) == 1 else f"{len(found)} seeds"


# ------------------------------------------------------------------ the page


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
    mean = lambda values: float(np.mean(list(values)))  # noqa: E731
    curve = lambda name, which, at: mean(windows(one[name].curves[which])[at] for one in found)  # noqa: E731
    masks = [
        (name, *(f"{mean(np.mean(one[name].curves[which]) for one in found):.4f}" for which in ("masked", "removed")),
         f"{curve(name, 'entropy', 0):.3f}", f"{curve(name, 'entropy', -1):.3f}", _list(drift(one[name]) for one in found),
         f"{curve(name, 'passed', 0):.3f}", f"{curve(name, 'passed', -1):.3f}", f"{mean(one[name].passed for one in found):.3f}")
        for name in BOUNDS
    ]  # fmt: skip
    others = lambda one, name: np.asarray(one[name].pool)[~hard(one)].mean()  # noqa: E731
    pool = [
        (name, f"{mean(_hard_share(one, name) for one in found):.3f}", f"{mean(others(one, name) for one in found):.3f}",
         f"{mean(one[name].passed for one in found):.3f}",
         f"{curve(name, 'entropy', -1):.3f}" if found[0][name].curves else "–")
        for name in (BEFORE, PLAIN, WPSM, HINTS)
    ]  # fmt: skip
    replayed = [
        (pair, task, f"{plain:.1e}", f"{same:.1e}", f"{replay.factors(apart, pair)[task]:.1f}")
        for pair, by_task in apart.items() for task, (plain, same) in by_task.items()
    ]  # fmt: skip
    size = f"{PROMPTS} prompts with {SAMPLES} answers each an update; {_count(found)} of {len(SEEDS)}"
    return "\n\n".join(
        [
            "## Parts of the policy gradient",
            table(("claim", "the report's figures", "here", "verdict"),
                  [(one.claim, one.paper, one.ours, f"**{one.verdict}**") for one in outcomes]),
            f"From the model of the table above before reinforcement, {size}. First and last are means over {WINDOW} updates. "
            f"Numbers: [curves.csv]({NAME}/curves.csv).",
            f"![Entropy and passes over the updates]({NAME}/curves.png)",
            f"**Masks of a mismatch**: {MASKED.task}, {MASKED_UPDATES} updates, with noise of {NOISE} of each matrix's spread on "
            f"the weights of the sampler; bounds that leave out alike at first, {_bounds()}.",
            table(("method", "left out", "answers removed whole", "entropy, first", "entropy, last", "entropy, farthest",
                   "passed, first", "passed, last", "fresh questions"), masks),
            f"**Hard prompts**: {POOLED.task}, {POOL_UPDATES} updates of {POOL} prompts that come up again and again; hard are "
            f"those that none of {SAMPLES} answers passed before. All are asked without hints. {DRAWS} fresh questions.",
            table(("run", "hard prompts", "the others", "fresh questions", "entropy, last"), pool),
            "**Replay**: KL(sampler | trainer) at the same weights, in nats per token, bit or code.",
            table(("sampler, trainer", "task", "experts chosen anew", "replayed", "times smaller"), replayed),
        ]
    )  # fmt: skip


def _bounds() -> str:
    return ", ".join(f"{name} {bounds[0]} to {bounds[1]}" for name, bounds in BOUNDS.items() if bounds)


def _picture(found: Seeds) -> "Figure":
    """Entropy above and passes below, of the arms with a mismatch and of those with a pool."""
    figure = new_figure(9, 5)
    axes = figure.subplots(2, 2, sharex="col")
    colours = [PALETTE[name] for name in ("video", "accent", "image")]
    for column, names in enumerate((tuple(BOUNDS), (PLAIN, WPSM, HINTS))):
        for name, colour in zip(names, colours, strict=True):
            for row, which in enumerate(("entropy", "passed")):
                values = np.mean([windows(one[name].curves[which]) for one in found], axis=0)
                axes[row, column].plot(WINDOW * (np.arange(len(values)) + 0.5), values, color=colour, label=name)
        axes[0, column].set_title((MASKED.task, POOLED.task)[column], fontsize=9)
        axes[1, column].set_xlabel("update", fontsize=9)
        axes[0, column].legend(fontsize=8, frameon=False)
    for row, label in enumerate(("entropy, nats per token", "share of answers that pass")):
        axes[row, 0].set_ylabel(label, fontsize=9)
    for one in axes.flat:
        one.tick_params(labelsize=8)
    return figure
