"""Writes what parts of the policy gradient are worth: tables, curves, and verdicts on the report's claims."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernest.report.routing import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results import replay
from ernest.results.methods import (
    BOUNDS,
    FILMS,
    HINTS,
    LOGGED,
    NOISE,
    PAIRS,
    SEEDS,
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
from ernest.results.outcome import Outcome, Verdict, judged, table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.reinforcement import NAME as PAGE
from ernest.results.reinforcement import TITLE
from ernest.results.together import BEFORE, Study
from ernest.results.units import kept
from ernest.storage import fingerprint, own_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "rl-methods"
WINDOW = 5
"""Updates whose mean is a figure of the tables."""
STEADY, GAIN, LEARNT, UNLEARNT, CLOSER = 0.25, 0.05, 0.3, 0.05, 5.0
"""How far the entropy may move; what WPSM must add on hard prompts; what hard prompts must reach with hints, and not without; how
many times closer replayed experts must bring the trainer."""
FIG_6 = "it keeps the entropy where GSPO's explodes"
HARD_WPSM = "hard prompts gain by it"
HARD_HINTS = "hard prompts are learnt with hints and not without"
REPLAY = "it lowers the divergence of a sampler of lower precision"
LOWER = "bf16, fp32"
"""The number types of a sampler and a trainer that the last is tried with."""
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
            found.append({})
            for name, (trial, recipe) in arms(seed).items():
                if name in PAIRS.values():
                    found[-1][before(name)] = before_training(study, build, begun, name, trial, recipe)
                found[-1][name] = train_arm(study, build, begun, name, trial, recipe)
                study.tell(f"{name}, seed {seed}: {np.mean(found[-1][name].pool):.3f} pass")
                _write(found, apart, out)


def before(name: str) -> str:
    """The name of what a run of a pair began with."""
    return f"{BEFORE}, {name}"


def trial_of(name: str) -> Trial:
    """What a run of a pair is made of."""
    return WORKED if name in (HINTS, WITHOUT_HINTS) else FILMS


def whole(found: Seeds, *names: str) -> Seeds:
    """The seeds whose runs of these names have been made."""
    return [one for one in found if all(name in one for name in names)]


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


def hard(found: Mapping[str, Arm], name: str) -> np.ndarray:
    """The prompts that hardly any answer passed before a run of a pair."""
    return np.asarray(found[before(PAIRS.get(name, name))].pool) <= trial_of(name).hard


def hard_share(found: Mapping[str, Arm], name: str) -> float:
    """The share of answers to hard prompts that pass after a run."""
    return float(np.asarray(found[name].pool)[hard(found, name)].mean())


def gain(found: Mapping[str, Arm], name: str) -> tuple[float, float]:
    """By how much more hard prompts are passed after a run than after that without, and two standard errors over answers."""
    one, other = hard_share(found, name), hard_share(found, PAIRS[name])
    answers = hard(found, name).sum() * trial_of(name).answers
    return one - other, float(2 * ((one * (1 - one) + other * (1 - other)) / answers) ** 0.5)


# ------------------------------------------------------------------ verdicts


def judge(found: Seeds, apart: Divergences) -> list[Outcome]:
    """One outcome for each of the claims whose runs have been made."""
    outcomes = [_replay(apart)]
    for names, verdict in ((BOUNDS, _fig_6), ((WPSM, WITHOUT_WPSM), _wpsm), ((HINTS, WITHOUT_HINTS), _hints)):
        if some := whole(found, *names):
            outcomes.append(verdict(some))
    return outcomes


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
    gains = [gain(one, WPSM) for one in found]
    sure = all(abs(value) > error for value, error in gains)
    verdict = judged(sum(value >= GAIN for value, _ in gains), len(gains)) if sure else "can't be judged here"
    ours = ", ".join(f"{value:+.3f} ± {error:.3f}" for value, error in gains)
    told = f"passes of hard prompts {ours} by it; entropy at the end {_ends(found, WPSM)}, without {_ends(found, WITHOUT_WPSM)}"
    return Outcome(HARD_WPSM, "a curve", f"{told}; {_count(found)}", _of_seeds(found, verdict))


def _hints(found: Seeds) -> Outcome:
    with_hints, without = ([hard_share(one, name) for one in found] for name in (HINTS, WITHOUT_HINTS))
    hits = sum(value >= LEARNT for value in with_hints) + sum(value <= UNLEARNT for value in without)
    ours = (
        f"hard prompts pass, without a hint, {_list(with_hints, '.3f')} after training with hints and {_list(without, '.3f')} "
        f"without ({_list((hard(one, HINTS).sum() for one in found), 'd')} of {WORKED.task.pool} prompts)"
    )
    return Outcome(HARD_HINTS, "a curve", f"{ours}; {_count(found)}", _of_seeds(found, judged(hits, 2 * len(found))))


def _replay(apart: Divergences) -> Outcome:
    """Of a sampler in bf16 and a trainer in fp32."""
    found = replay.factors(apart, LOWER)
    words = ", ".join(f"{task} {value:.1f}" for task, value in found.items())
    verdict = judged(sum(value >= CLOSER for value in found.values()), len(found))
    return Outcome(REPLAY, "no figure", f"{LOWER}: times smaller, {words}", verdict)


def _list(values: Iterable[float | np.floating | np.integer], form: str = "+.0%") -> str:
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
    blocks = [
        "## Parts of the policy gradient",
        verdicts(outcomes),
        f"From the fine-tuned model of the table above; {_count(found)} of {len(SEEDS)}. First and last are means over {WINDOW} "
        f"updates. Numbers: [curves.csv]({NAME}/curves.csv).",
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
    return (name, *shares, *entropy, _list(drift(one[name]) for one in found), *passed, counted)


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
        count = _list((some.sum() for _, some in pools), "d")
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
