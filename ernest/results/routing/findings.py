"""The findings of ERNIE 5.0 on routing (§6.4.1), each held against what `ernest analyse` finds of a checkpoint of ours.

A finding is a set of comparisons of figures; it holds where all of them come out as the report says, in part where half do.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from ernest.evaluation.specialisation import AUDIO, GROUPS, IMAGE_IN, IMAGE_OUT, TEXT, VIDEO_IN, VIDEO_OUT, Specialisation
from ernest.report.routing import three_layers
from ernest.results.outcome import Outcome, judged

UNDERSTAND, GENERATE = (IMAGE_IN, VIDEO_IN), (IMAGE_OUT, VIDEO_OUT)
CHANCE = 1 / 7
"""What two random quarters share."""
EVEN_ENOUGH = 0.7
"""The least entropy of a first layer that still counts as not badly imbalanced; the report's is 0.73."""


def findings(found: Specialisation) -> list[Outcome]:
    """An outcome for each of the report's findings. Raises ValueError where one of its six groups is missing."""
    missing = [group for group in GROUPS if group not in found.groups]
    if missing:
        raise ValueError(f"{found.source}: the report's findings need all six groups of tasks, {', '.join(missing)} missing")
    return [judge(_Figures(found)) for judge in JUDGES]


class _Figures:
    """Figures of a specialisation by the names of groups."""

    def __init__(self, found: Specialisation) -> None:
        self.found, self.number = found, {group: i for i, group in enumerate(found.groups)}
        self.shown = list(three_layers(found.layers).values())

    def entropy(self, group: str) -> np.ndarray:
        """`[layers]`."""
        return self.found.entropy[self.number[group]]

    def peak(self, group: str) -> float:
        """The largest share that one expert of any layer has."""
        return float(self.found.usage[self.number[group]].max())

    def iou(self, one: str, other: str) -> np.ndarray:
        """Of the first, a middle and the last layer."""
        return self.found.overlap[self.shown, self.number[one], self.number[other]]

    def mean_iou(self, one: str, other: str) -> float:
        """Over all layers."""
        return float(self.found.overlap[:, self.number[one], self.number[other]].mean())


def _outcome(claim: str, paper: str, ours: str, comparisons: Sequence[bool | np.bool_]) -> Outcome:
    hits = sum(map(bool, comparisons))
    return Outcome(claim, paper, f"{ours} ({hits} of {len(comparisons)} comparisons)", judged(hits, len(comparisons)))


def _shared_and_specific(figures: _Figures) -> Outcome:
    found = figures.found
    everywhere = (found.usage > 1 / found.experts).all(0).sum(1)[figures.shown]
    of_one = (2 * found.usage.max(0) >= found.usage.sum(0)).sum(1)[figures.shown]
    ours = (
        f"above their even share in all groups {_list(everywhere)} of {found.experts} experts; used by one group as much as by "
        f"all others together {_list(of_one)}"
    )
    says = "some experts fire for everything, the others are specific to a modality"
    return _outcome(says, "seen in Fig. 8", ours, [*(everywhere > 0), *(of_one > 0)])


def _concentration(figures: _Figures) -> Outcome:
    mean = {group: float(figures.entropy(group).mean()) for group in GROUPS}
    pairs = [(TEXT, group) for group in GROUPS[1:]] + list(product(UNDERSTAND, (*GENERATE, AUDIO)))
    ours = "mean entropy " + ", ".join(f"{group} {value:.2f}" for group, value in mean.items())
    says = "text is spread widest; generation and audio are more concentrated than understanding"
    return _outcome(says, "text .96, understanding .80–.94, audio .68–.91, generation .60–.77", ours,
                    [mean[one] > mean[other] for one, other in pairs])  # fmt: skip


def _peaks(figures: _Figures) -> Outcome:
    peaks = {group: figures.peak(group) for group in GROUPS}
    ours = "largest share " + ", ".join(f"{group} {value:.0%}" for group, value in peaks.items())
    highest, lowest = max(peaks, key=peaks.__getitem__), min(peaks, key=peaks.__getitem__)
    says = "the busiest experts are those of audio and of video generation, the least busy peak is text's"
    return _outcome(says, "audio 68 %, video generation 40 %, text 4–14 %", ours, [highest in (AUDIO, VIDEO_OUT), lowest == TEXT])


def _task_before_modality(figures: _Figures) -> Outcome:
    within = [figures.iou(*UNDERSTAND), figures.iou(*GENERATE)]
    across = [figures.iou(IMAGE_IN, IMAGE_OUT), figures.iou(VIDEO_IN, VIDEO_OUT)]
    ours = (
        f"two kinds of understanding {_three(within[0])}, of generation {_three(within[1])}; "
        f"the same modality both ways: image {_three(across[0])}, video {_three(across[1])}"
    )
    paper = "understanding .98 .52 .64, generation .64 .83 .78; image .22 .22 .25, video .23 .19 .20"
    says = "specialisation follows the task (understand, generate) more than the modality"
    return _outcome(says, paper, ours, np.concatenate([one > other for one in within for other in across]).tolist())


def _bars(figures: _Figures) -> Outcome:
    drawn, seen, apart = figures.mean_iou(*GENERATE), figures.mean_iou(*UNDERSTAND), figures.mean_iou(TEXT, IMAGE_OUT)
    says = "generation shares experts, understanding shares experts, text and image generation share none"
    ours = f"mean of all layers: generation {drawn:.2f}, understanding {seen:.2f}, text and image generation {apart:.2f}"
    return _outcome(says, ".64–.83, .52–.98, .03–.09; here at least .4, .4 and at most .14", ours,
                    [drawn >= 0.4, seen >= 0.4, apart <= CHANCE])  # fmt: skip


def _text_and_audio(figures: _Figures) -> Outcome:
    with_text = {group: figures.iou(TEXT, group) for group in GROUPS[1:]}
    nearest = [max(with_text, key=lambda group: with_text[group][i]) for i in range(3)]
    ours = f"with audio {_three(with_text[AUDIO])}; nearest to text: {', '.join(nearest)}"
    return _outcome("text shares most with audio", ".12 .32 .40, the highest of its row", ours, [one == AUDIO for one in nearest])


def _grows_with_depth(figures: _Figures) -> Outcome:
    rows = [figures.iou(TEXT, group) for group in UNDERSTAND]
    ours = f"image {_three(rows[0])}, video {_three(rows[1])}"
    says = "what text shares with understanding grows with depth"
    return _outcome(
        says, "image .03 .21 .29, video .03 .28 .38", ours, np.concatenate([np.diff(row) > 0 for row in rows]).tolist()
    )


def _stays_low(figures: _Figures) -> Outcome:
    rows = {f"{one}, {other}": figures.iou(one, other) for one, other in product(UNDERSTAND, GENERATE)}
    ours = "; ".join(f"{name} {_three(row)}" for name, row in rows.items())
    says = "understanding and generation share little in every layer"
    return _outcome(says, ".18–.25, at most", ours, [value <= 0.25 for row in rows.values() for value in row])


def _text_is_flat(figures: _Figures) -> Outcome:
    text = figures.entropy(TEXT)
    ours = f"{text.min():.2f} to {text.max():.2f} over the layers"
    return _outcome("text uses its experts evenly in every layer", ".96–.97, the last layer .94", ours, (text >= 0.9).tolist())


def _text_above_generation(figures: _Figures) -> Outcome:
    above = [(figures.entropy(TEXT) > figures.entropy(group)).mean() for group in GENERATE]
    ours = f"in {above[0]:.0%} of the layers above image generation, in {above[1]:.0%} above video generation"
    return _outcome("text's entropy is above generation's", "all layers", ours, [share >= 0.8 for share in above])


def _first_layer(figures: _Figures) -> Outcome:
    first = {group: float(figures.entropy(group)[0]) for group in GROUPS}
    ours = ", ".join(f"{group} {value:.2f}" for group, value in first.items())
    says = "the first layer is not badly imbalanced, against the custom of making it dense"
    return _outcome(says, "text .96, understanding .81, audio .73, image generation .77, video generation .73", ours,
                    [value >= EVEN_ENOUGH for value in first.values()])  # fmt: skip


def _last_layer(figures: _Figures) -> Outcome:
    falls = {group: (float(figures.entropy(group)[1:-1].mean()), float(figures.entropy(group)[-1])) for group in GROUPS}
    ours = ", ".join(f"{group} {middle:.2f} → {last:.2f}" for group, (middle, last) in falls.items())
    says = "in the last layer choices are more concentrated than in the middle"
    return _outcome(says, "text .96 → .94, understanding .92 → .83, audio .87 → .83, video generation .70 → .65", ours,
                    [last < middle for middle, last in falls.values()])  # fmt: skip


def _information(figures: _Figures) -> Outcome:
    found = figures.found
    above = found.information > np.quantile(found.shuffled, 0.999, axis=0)
    ours = (
        f"{found.information.min():.2f} to {found.information.max():.2f} bits, under shuffled labels at most "
        f"{found.shuffled.max():.3f}; p ≤ {found.chance.max():.1g}"
    )
    return _outcome("experts tell tasks apart beyond chance", "not tested there", ours, above.tolist())


JUDGES: tuple[Callable[[_Figures], Outcome], ...] = (
    _shared_and_specific, _concentration, _peaks, _task_before_modality, _bars, _text_and_audio, _grows_with_depth, _stays_low,
    _text_is_flat, _text_above_generation, _first_layer, _last_layer, _information,
)  # fmt: skip
"""In the order of the report's figures; the last is the test that it does not make."""


def _three(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}".lstrip("0") for value in values)


def _list(values: np.ndarray) -> str:
    return ", ".join(str(int(value)) for value in values)
