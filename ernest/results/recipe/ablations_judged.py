"""What the ablations say of the report's claims: each is a set of comparisons, judged where seeds allow it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ernest.results.held_out import LOSSES
from ernest.results.outcome import Outcome, judged_known, without_figure
from ernest.results.paired import Difference, difference
from ernest.results.recipe import codec
from ernest.results.recipe.arms import (
    ALL,
    BASE,
    CNN,
    EQUAL,
    EVEN_SCALES,
    FOUR,
    MLP,
    NO_BIAS,
    NO_FEEDBACK,
    NO_FLIPS,
    NO_MTP,
    ORDER,
    PICTURES,
    SKEWED,
    SKEWED_NO_BIAS,
    SOUNDS,
    STEADY,
    TEXTS,
    TIME,
    VIT,
)
from ernest.training.loss import MODALITIES

Found = Sequence[Mapping[str, Mapping[str, Mapping[str, float]]]]
"""By seed, base and arm, what was measured; a seed may lack arms. Codecs stand under `CODECS`."""
CODECS = "codecs"
EVEN, VIOLATED, COLLAPSED, CALMER = 0.98, 1.7, 3.0, 5.0
"""The least entropy, and the most that the largest load may be of the mean, where load is even; and where it has collapsed;
and how many times less the bias is to swing."""
FIRST_BITS, LATER_CODES, COARSE = 0.01, 0.1, 0.05
"""Nats a bit that places are worth, nats a code that feedback is, and the share of the loss of coarse scales that weights are."""
LITTLE, NOTHING = 0.02, 0.02
"""The share of the loss that one expert of four may cost, and nats that a head may."""
MOST = 0.6
"""Of the gradient, for one modality."""
TOLD = 0.2
"""Of the clips, whose word the first code must tell by its teacher alone."""


@dataclass(frozen=True)
class Runs:
    """What was found, by base, arm and measure."""

    found: Found

    def each(self, base: str, arms: Sequence[str], of: Callable[..., float]) -> list[float]:
        """`of` the measures of the arms, of every seed that has them all."""
        seeds = [seed[base] for seed in self.found if base in seed and all(arm in seed[base] for arm in arms)]
        return [of(*(seed[arm] for arm in arms)) for seed in seeds]

    def costs(self, base: str, arm: str, measure: str, relative: bool = False) -> Difference | None:
        """How much higher a measure of an arm is than that of its base, or how much of it."""

        def cost(other: Mapping[str, float], own: Mapping[str, float]) -> float:
            return (other[measure] - own[measure]) / (own[measure] if relative else 1)

        values = self.each(base, (arm, BASE), cost)
        return difference(values) if values else None

    def mean(self, base: str, arm: str, measure: str) -> float:
        """Over seeds; not a number where there is none."""
        values = self.each(base, (arm,), lambda one: one[measure])
        return float(np.mean(values)) if values else float("nan")


def judge(found: Found) -> list[Outcome]:
    """An outcome for each claim whose runs are there for one seed at least."""
    runs = Runs(found)
    outcomes = [of(runs) for of in (_flips, _places, _weights, _merger, _feedback, _gradient, _balance, _ahead, _cut, _codec)]
    return [one for one in outcomes if one is not None]


def _flips(runs: Runs) -> Outcome | None:
    """By the loss of bits whose history was corrupted, and by pictures that are drawn while bits are turned over."""
    name = "bits, text→image, flipped history"
    loss = runs.costs(PICTURES, NO_FLIPS, name)
    plain, hurt = "score, text→image", "score, text→image, flipped bits"
    drops = runs.each(
        PICTURES, (NO_FLIPS, BASE), lambda without, own: (without[plain] - without[hurt]) - (own[plain] - own[hurt])
    )
    if loss is None or not drops:
        return None
    clean, drop = runs.costs(PICTURES, NO_FLIPS, "bits, text→image"), difference(drops)
    scores = "; ".join(f"{arm}: {runs.mean(PICTURES, arm, plain):.2f}, then {runs.mean(PICTURES, arm, hurt):.2f}"
                       for arm in (BASE, NO_FLIPS))  # fmt: skip
    ours = (
        f"without flips, nats a bit {loss} where the history is corrupted, {clean} where it isn't; pictures right, and while a "
        f"fifth of the bits of the middle scale are turned over: {scores}; the drop without flips {drop} larger"
    )
    return without_figure("training with flips makes drawing robust", ours, [loss.is_above(), drop.is_above()])


def _places(runs: Runs) -> Outcome | None:
    costs = {arm: runs.costs(PICTURES, arm, "bits, text→image") for arm in (ORDER, TIME)}
    words = runs.costs(PICTURES, ORDER, "text, image→text")
    there = {arm: cost for arm, cost in costs.items() if cost is not None}
    if not there:
        return None
    ours = (
        "nats a bit more: "
        + ", ".join(f"{arm} {cost}" for arm, cost in there.items())
        + f"; nats a token of captions, {ORDER} {words}"
    )
    return without_figure(
        "places in height and width are worth having", ours, [one.is_above(FIRST_BITS) for one in there.values()]
    )


def _weights(runs: Runs) -> Outcome | None:
    scales = {k: runs.costs(PICTURES, EVEN_SCALES, f"bits, text→image, scale {k}", relative=True) for k in (1, 2, 3)}
    costs = {k: cost for k, cost in scales.items() if cost is not None}
    if not costs:
        return None
    pictures = runs.costs(PICTURES, EVEN_SCALES, "score, text→image")
    ours = "without weights, share of the loss more: " + ", ".join(f"scale {k} {cost}" for k, cost in costs.items())
    return without_figure("the weights help the coarse scales", f"{ours}; pictures right {pictures}",
                    [costs[k].is_above(COARSE) for k in (1, 2)])  # fmt: skip


def _merger(runs: Runs) -> Outcome | None:
    found = {arm: runs.costs(PICTURES, arm, "text, image→text") for arm in (CNN, VIT, MLP)}
    costs = {arm: cost for arm, cost in found.items() if cost is not None}
    if not costs:
        return None
    right = ", ".join(f"{arm} {runs.mean(PICTURES, arm, 'score, image→text'):.2f}" for arm in (BASE, *costs))
    ours = "nats a token of captions more: " + ", ".join(f"{arm} {cost}" for arm, cost in costs.items())
    return without_figure("the merger is better than either path and than an MLP", f"{ours}; captions right: {right}",
                    [cost.is_above() for cost in costs.values()])  # fmt: skip


def _feedback(runs: Runs) -> Outcome | None:
    levels = {q: runs.costs(SOUNDS, NO_FEEDBACK, f"codes, level {q}") for q in (1, 2, 3, 4)}
    costs = {q: cost for q, cost in levels.items() if cost is not None}
    wrong = runs.each(SOUNDS, (BASE,), lambda own: own["codes, level 2, wrong first code"] - own["codes, level 2"])
    if not costs:
        return None
    fooled = difference(wrong)
    ours = "without it, nats a code more: " + ", ".join(f"level {q} {cost}" for q, cost in costs.items())
    return without_figure(
        "the feedback of codes matters: without it later levels lose", f"{ours}; level 2 with a wrong code fed back {fooled}",
        [costs[q].is_above(LATER_CODES) for q in (2, 3, 4)] + [fooled.is_above(LATER_CODES)],
    )  # fmt: skip


def _gradient(runs: Runs) -> Outcome | None:
    """Every seed has its own largest share; one seed tells nothing of another."""
    name = "largest share of the gradient"
    pairs = runs.each(ALL, (EQUAL, BASE), lambda equal, own: equal[name] - own[name])
    if not pairs:
        return None
    largest = runs.each(ALL, (BASE,), lambda own: own[name])
    shares = {arm: ", ".join(f"{one} {runs.mean(ALL, arm, f'share of the gradient, {one}'):.2f}" for one in MODALITIES)
              for arm in (BASE, EQUAL)}  # fmt: skip
    ours = f"shares of the gradient's norm, weighted: {shares[BASE]}; losses of weight 1: {shares[EQUAL]}"
    met = [max(largest) <= MOST, difference(pairs).is_above()] if len(largest) > 1 else [None]
    return without_figure("no modality takes over the gradient", ours, met)


def _balance(runs: Runs) -> Outcome | None:
    """Even with the bias and collapsed without, from usual and skewed routers; a seed that lacks arms tells of the others."""
    entropy, largest, dead = "entropy, worst layer", "largest ÷ mean load, of a batch", "experts never chosen"
    arms = [arm for arm in (BASE, NO_BIAS, SKEWED, SKEWED_NO_BIAS) if runs.each(ALL, (arm,), len)]
    seeds = runs.each(ALL, (BASE, NO_BIAS), lambda *_: 0.0)
    if not seeds:
        return None
    of = lambda arm, measure: runs.mean(ALL, arm, measure)
    ours = "; ".join(f"{arm}: entropy {of(arm, entropy):.3f}, largest ÷ mean load {of(arm, largest):.2f}, never chosen "
                     f"{of(arm, dead):.1%}" for arm in arms)  # fmt: skip
    met = [of(BASE, entropy) >= EVEN]
    met += [of(arm, largest) >= COLLAPSED if arm.endswith(NO_BIAS) else of(arm, largest) <= VIOLATED for arm in arms]
    swings = runs.each(ALL, (STEADY, BASE), lambda steady, own: steady["swing of the bias"] / own["swing of the bias"])
    if swings:
        met.append(min(swings) >= CALMER)
        ours += f"; the bias swings {np.mean(swings):.1f} times as wide in the last steps at full speed"
    claim = "without the bias load collapses; a tenth of its speed late calms it"
    return without_figure(claim, ours, met if len(seeds) > 1 else [None])


def _ahead(runs: Runs) -> Outcome | None:
    costs = runs.each(TEXTS, (BASE, NO_MTP), lambda own, without: own["text, text"] - without["text, text"])
    if not costs:
        return None
    cost = difference(costs)
    return without_figure(
        "and costs the next token nothing", f"nats a token with the head − without {cost}", [cost.is_within(NOTHING)]
    )


def _cut(runs: Runs) -> Outcome | None:
    names = [name for names in LOSSES.values() for name in names]
    costs = runs.each(ALL, (FOUR,), lambda one: float(np.mean([one[f"{name}, one expert"] / one[name] - 1 for name in names])))
    if not costs:
        return None
    cost = difference(costs)
    ours = f"share of the loss more, mean over {len(names)} losses, one expert of four {cost}"
    return Outcome("one expert of four costs little, of a network trained with four (by losses)", "1.5 % of the scores", ours,
                   judged_known([cost.is_within(LITTLE)]))  # fmt: skip


def _codec(runs: Runs) -> Outcome | None:
    gains = runs.each(CODECS, (codec.TAUGHT, codec.UNTAUGHT), lambda one, other: one["word, code 1"] - other["word, code 1"])
    if not gains:
        return None
    gain = difference(gains)
    voices = runs.each(CODECS, (codec.TAUGHT,), lambda one: one["voice, the others"] - one["voice, code 1"])
    hidden = difference(voices)
    facts = "; ".join(f"{fact} told by code 1 {runs.mean(CODECS, codec.TAUGHT, f'{fact}, code 1'):.2f}, by the others "
                      f"{runs.mean(CODECS, codec.TAUGHT, f'{fact}, the others'):.2f}" for fact in ("word", "voice"))  # fmt: skip
    ours = (
        f"{facts}; untaught, word told by code 1 {runs.mean(CODECS, codec.UNTAUGHT, 'word, code 1'):.2f}: {gain} by the teacher"
    )
    return without_figure("the first code is made semantic by distillation", ours, [gain.is_above(TOLD), hidden.is_above()])
