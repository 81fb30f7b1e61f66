"""Measures whether experts specialise in kinds of tasks, and how sure that is (ERNIE 5.0 §6.4.1, Fig. 8 to 10).

Tasks are put into the report's six groups by what their records hold, so that every checkpoint can be compared with it. What
chance gives stands beside: two random quarters of the experts, and the same documents under shuffled labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ernest.checkpoint import checkpoint_media, load_model, run_of
from ernest.config.recipe import read_recipe
from ernest.data.collate import collate
from ernest.data.examples import Example, encode
from ernest.data.held_out import few_of_each_task
from ernest.data.layout import PackedExample, lay_out_example
from ernest.data.records import read_lines
from ernest.data.store import ExampleStore
from ernest.evaluation.routing import TOP_SHARE, count_choices, normalised_entropy, overlaps, shares
from ernest.model.network import Ernest
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.makers import open_examples
from ernest.training.run_settings import JUDGED_BY

TEXT, IMAGE_IN, VIDEO_IN = "text", "image understanding", "video understanding"
IMAGE_OUT, VIDEO_OUT, AUDIO = "image generation", "video generation", "audio"
GROUPS = (TEXT, IMAGE_IN, VIDEO_IN, IMAGE_OUT, VIDEO_OUT, AUDIO)
"""The report's groups of tasks, in its order."""
ROUNDS = 2000
"""Shuffles of the labels: the least chance that can be told is one of so many and one."""
TOGETHER = 16
"""Documents of a batch."""


@dataclass(frozen=True)
class Specialisation:
    """What was counted: choices `counts` `[documents, layers, experts]`, and in `labels` `[documents]` the number of the group of
    each; `shuffled` `[rounds, layers]` is the information that shuffled labels give; `source` says where documents are from."""

    groups: tuple[str, ...]
    labels: np.ndarray
    counts: np.ndarray = field(repr=False)
    shuffled: np.ndarray = field(repr=False)
    source: str = ""

    @property
    def layers(self) -> int:
        return self.counts.shape[1]

    @property
    def experts(self) -> int:
        return self.counts.shape[2]

    @property
    def top(self) -> int:
        """Experts of a group whose overlap is measured."""
        return max(1, round(TOP_SHARE * self.experts))

    @cached_property
    def usage(self) -> np.ndarray:
        """The share of a group's choices that went to each expert, `[groups, layers, experts]`."""
        return usage_by(self.counts, self.labels, len(self.groups))

    @cached_property
    def entropy(self) -> np.ndarray:
        """Normalised, `[groups, layers]`."""
        return normalised_entropy(self.usage)

    @cached_property
    def overlap(self) -> np.ndarray:
        """Intersection over union of the most used quarters `[layers, groups, groups]`; a group with itself by halves of its
        documents, which tells how far a figure can be trusted."""
        iou = overlaps(list(self.usage))
        for group in range(len(self.groups)):
            own = self.counts[self.labels == group]
            halves = [shares(own[half::2].sum(0)) for half in (0, 1)]
            iou[:, group, group] = overlaps(halves)[:, 0, 1]
        return iou

    @cached_property
    def information(self) -> np.ndarray:
        """Of expert and group, in bits `[layers]`."""
        return information(self.counts, self.labels, len(self.groups))

    @property
    def chance(self) -> np.ndarray:
        """How likely shuffled labels are to tell as much, `[layers]`: never less than 1 / (rounds + 1)."""
        return (1 + (self.shuffled >= self.information).sum(0)) / (1 + len(self.shuffled))


def specialisation(checkpoint: Path, data: Path | None = None, documents: int = 96, seed: int = 0) -> Specialisation:
    """Of a checkpoint, on at most so many `documents` of each group: those of `data`, or else those that its run held out, or
    else some that it was trained on.

    Raises ValueError where there are none, and where they are of one group alone.
    """
    source = find_source(checkpoint, data)
    model, tokenizers = load_model(checkpoint)
    if data is None:
        store = ExampleStore(source) if source.name == JUDGED_BY else open_examples(source.parent, tokenizers)
        picked = [store[int(index)] for indices in store.tasks.values() for index in _spread(indices, documents)]
    else:
        records = few_of_each_task(read_lines(data, checkpoint_media(checkpoint)), documents)
        picked = list(encode(records, tokenizers))
    groups, labels, examples = _grouped(picked, documents)
    if len(groups) < 2:
        raise ValueError(f"{source}: holds records of {', '.join(groups)} alone; what experts specialise in takes two kinds")
    counts = count_by_document(model, tokenizers, examples)
    return Specialisation(groups, labels, counts, shuffled(counts, labels, len(groups), seed), str(source))


def find_source(checkpoint: Path, data: Path | None) -> Path:
    """The folder of records or examples to look at. Raises ValueError where there is none. Imports nothing heavy."""
    if data is not None:
        return data
    for name in (JUDGED_BY, "examples", "decoded"):  # the last of a run that encodes what it draws
        if (run_of(checkpoint) / name).is_dir():
            return run_of(checkpoint) / name
    raise ValueError(f"{run_of(checkpoint)} holds no examples of a run: name a folder of records, --data FOLDER")


def group_of(example: Example) -> str:
    """The report's group of an example: sounds, else what is drawn, else what is looked at, else texts."""
    segments = example.segments
    if any(segment.form == "codes" for segment in segments):
        return AUDIO
    drawn = [segment for segment in segments if segment.form == "latent"]
    seen = drawn or [segment for segment in segments if segment.form == "pixels"]
    if not seen:
        return TEXT
    video = any(segment.video for segment in seen)
    return {(True, True): VIDEO_OUT, (True, False): IMAGE_OUT, (False, True): VIDEO_IN}.get((bool(drawn), video), IMAGE_IN)


def count_by_document(model: Ernest, tokenizers: Tokenizers, examples: Sequence[Example]) -> np.ndarray:
    """How often each document chose each expert, int64 `[documents, layers, experts]`, read as in training but undisturbed."""
    packed = [lay_out_example(example, tokenizers, tokenizers.text.encode) for example in examples]
    order = sorted(range(len(packed)), key=lambda number: len(packed[number].layout))
    counts = np.zeros((len(packed), model.config.layers, model.config.experts), np.int64)
    for start in range(0, len(order), TOGETHER):
        numbers = order[start : start + TOGETHER]
        counts[numbers] = _count(model, tokenizers, [packed[number] for number in numbers])
    return counts


@torch.inference_mode()
def _count(model: Ernest, tokenizers: Tokenizers, packed: Sequence[PackedExample]) -> np.ndarray:
    batch = collate([[one] for one in packed], max(len(one.layout) for one in packed), tokenizers)
    expert_ids = model.eval()(batch).router_output.expert_ids
    return np.stack(
        [
            np.stack([count_choices(layer[row][batch.valid[row]], model.config.experts) for layer in expert_ids])
            for row in range(len(packed))
        ]
    )


def shares_of_training(checkpoint: Path, some: int = 60) -> dict[str, float]:
    """Of each group: its share of the positions that a run trains on, from the weights of its tasks and mean lengths of `some`
    documents of each. Raises ValueError where the run's examples do not lie beside the checkpoint."""
    recipe = read_recipe(checkpoint / "recipe.json")
    tokenizers = Tokenizers.load(checkpoint / "tokenizers")
    store = open_examples(run_of(checkpoint), tokenizers)
    positions: dict[str, float] = dict.fromkeys(GROUPS, 0.0)
    for task, weight in recipe.weights(store.tasks).items():
        examples = [store[int(index)] for index in store.tasks[task][:some]]
        lengths = [len(lay_out_example(one, tokenizers, tokenizers.text.encode).layout) for one in examples]
        positions[group_of(examples[0])] += weight * sum(lengths) / len(lengths)
    return {group: count / sum(positions.values()) for group, count in positions.items()}


# ------------------------------------------------------------------ statistics


def usage_by(counts: np.ndarray, labels: np.ndarray, groups: int) -> np.ndarray:
    """Counts of documents as shares of groups, `[groups, layers, experts]`."""
    member = (labels == np.arange(groups)[:, None]).astype(np.float64)
    return shares((member @ counts.reshape(len(counts), -1)).reshape(groups, *counts.shape[1:]))


def information(counts: np.ndarray, labels: np.ndarray, groups: int) -> np.ndarray:
    """I(expert; group) = H(mean of the groups' usages) - mean of their H, in bits `[layers]`: every group counts alike."""
    usage = usage_by(counts, labels, groups)
    bits = math.log2(usage.shape[-1]) if usage.shape[-1] > 1 else 0.0
    return bits * (normalised_entropy(usage.mean(0)) - normalised_entropy(usage).mean(0))


def shuffled(counts: np.ndarray, labels: np.ndarray, groups: int, seed: int, rounds: int = ROUNDS) -> np.ndarray:
    """The information under shuffled labels, `[rounds, layers]`: those of documents, whose positions are not independent."""
    rng = np.random.default_rng(seed)
    return np.stack([information(counts, rng.permutation(labels), groups) for _ in range(rounds)])


def chance_overlap(experts: int, top: int) -> tuple[float, float]:
    """Intersection over union of two random sets of `top` of the experts: its mean, and what only one in a thousand exceeds."""
    both = np.arange(top + 1)
    ways = np.array([math.comb(top, i) * math.comb(experts - top, top - i) for i in both], np.float64)
    p, iou = ways / ways.sum(), both / (2 * top - both)
    return float(p @ iou), float(iou[np.searchsorted(np.cumsum(p), 0.999)])


def _grouped(examples: Sequence[Example], most: int) -> tuple[tuple[str, ...], np.ndarray, list[Example]]:
    """The groups that are there, and at most so many examples of each with the number of its group."""
    of_group: dict[str, list[Example]] = {}
    for example in examples:
        of_group.setdefault(group_of(example), []).append(example)
    groups = tuple(group for group in GROUPS if group in of_group)
    picked = [[of_group[group][i] for i in _spread(np.arange(len(of_group[group])), most)] for group in groups]
    labels = np.repeat(np.arange(len(groups)), [len(some) for some in picked])
    return groups, labels, [example for some in picked for example in some]


def _spread(indices: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of them, evenly spread."""
    count = min(most, len(indices))
    return indices[np.arange(count) * len(indices) // max(count, 1)]
