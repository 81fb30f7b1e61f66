"""What parts of the policy gradient are worth, by the report's claims: figures of each run, and verdicts over seeds."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ernest.results.outcome import Outcome, Verdict, judged, without_figure
from ernest.results.paired import SEEDS, seeds_in_words
from ernest.results.rl import replay
from ernest.results.rl.methods import BOUNDS, FILMS, HINTS, PAIRS, WITHOUT_HINTS, WITHOUT_WPSM, WORKED, WPSM, Arm, Trial
from ernest.results.rl.study import BEFORE

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
        f"{name}: entropy {listed(drift(one[name]) for one in found)}, answers removed "
        f"{listed((float(np.mean(one[name].curves['removed'])) for one in found), '.3f')}, passed at the end "
        f"{listed((windows(one[name].curves['passed'])[-1] for one in found), '.3f')}"
        for name in BOUNDS
    )
    return Outcome(
        FIG_6, "a curve", f"{ours}; {seeds_in_words(len(found))}", _of_seeds(found, judged(sum(sound + moved), 2 * len(found)))
    )


def _wpsm(found: Seeds) -> Outcome:
    gains = [gain(one, WPSM) for one in found]
    sure = all(abs(value) > error for value, error in gains)
    verdict = judged(sum(value >= GAIN for value, _ in gains), len(gains)) if sure else "can't be judged here"
    ours = ", ".join(f"{value:+.3f} ± {error:.3f}" for value, error in gains)
    words = f"passes of hard prompts {ours} by it; entropy at the end {_ends(found, WPSM)}, without {_ends(found, WITHOUT_WPSM)}"
    return Outcome(HARD_WPSM, "a curve", f"{words}; {seeds_in_words(len(found))}", _of_seeds(found, verdict))


def _hints(found: Seeds) -> Outcome:
    with_hints, without = ([hard_share(one, name) for one in found] for name in (HINTS, WITHOUT_HINTS))
    hits = sum(value >= LEARNT for value in with_hints) + sum(value <= UNLEARNT for value in without)
    ours = (
        f"hard prompts pass, without a hint, {listed(with_hints, '.3f')} after training with hints and {listed(without, '.3f')} "
        f"without ({listed((hard(one, HINTS).sum() for one in found), 'd')} of {WORKED.task.pool} prompts)"
    )
    return Outcome(HARD_HINTS, "a curve", f"{ours}; {seeds_in_words(len(found))}", _of_seeds(found, judged(hits, 2 * len(found))))


def _replay(apart: Divergences) -> Outcome:
    """Of a sampler in bf16 and a trainer in fp32."""
    found = replay.factors(apart, LOWER)
    words = ", ".join(f"{task} {value:.1f}" for task, value in found.items())
    return without_figure(REPLAY, f"{LOWER}: times smaller, {words}", [value >= CLOSER for value in found.values()])


def listed(values: Iterable[float | np.floating | np.integer], form: str = "+.0%") -> str:
    """Figures of seeds, one behind the other."""
    return " ".join(f"{value:{form}}" for value in values)


def _ends(found: Seeds, name: str) -> str:
    return listed((windows(one[name].curves["entropy"])[-1] for one in found), ".3f")
