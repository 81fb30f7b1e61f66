"""Whether the context grows in mid-training without loss: two stages on long texts, beside a run whose rows never grew.

Both have one first stage, and behind it read as many positions in as many steps, at the same rates. What is measured is the loss
by position in texts of a thousand positions that no run has seen, and what a number costs that was told before, by how far back
that was.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.config.stages import sequence_at
from ernest.data.collate import collate
from ernest.data.examples import encode
from ernest.data.layout import lay_out_example
from ernest.data.store import ExampleStore
from ernest.device import set_threads
from ernest.model.likelihood import target_log_probs
from ernest.model.network import Ernest
from ernest.results.small_runs import PLAIN, in_one_process, replaced
from ernest.results.units import file_name, kept
from ernest.sequence.record import Record
from ernest.storage import write_folder
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.training import loop, makers
from ernest.training.tokenizers import check_network
from ernest.world.chronicles import Mention, chronicle, mentions, surprises
from ernest.world.split import HELD_OUT

STEPS, ROWS, SAVE_EVERY = 800, 8, 60
"""Of a run. It saves a state at the border, from which both ways go on."""
FIRST_STAGE = "first-stage"
NETWORK = ("size=5", "model.experts=2", "model.top_k=1", "model.expert_width=128", "model.vit_layers=0", "model.vit_width=16",
           "training.learning_rate=0.003")  # fmt: skip
GROWN, SHORT = "grown to 1,024", "never grew"
BEFORE = "before mid-training"
REMEMBERS, FORGETS = "a reader who remembers all", "a reader who remembers 256 positions"
TEXTS: Mapping[str, tuple[int, int, int]] = {"short": (79, 84, 5000), "half": (160, 168, 1000), "long": (330, 340, 600)}
"""Training texts of each task: from so many mentions to so many, and how many texts. A mention takes three positions."""
JUDGED, MENTIONS, BATCH = 48, 340, 8
"""Held-out texts, their mentions, and how many are read at a time."""
SPANS = ((0, 128), (128, 256), (256, 512), (512, 1024))
"""Positions whose loss is told."""
NEAR, MIDDLE, FAR = "numbers, told up to 64 ago", "numbers, told up to 256 ago", "numbers, told more than 256 ago"
FIRST = "numbers, first told"
"""What a number costs, by the positions since the last mention of its name."""
Measures = dict[str, float]


@dataclass(frozen=True)
class Study:
    """Where the work is kept; `tell` hears how far it is. Texts and their tokenizer are made of nothing else."""

    build: Path
    tell: Callable[[str], None] = lambda line: None
    tokenizers: Tokenizers = field(init=False)
    store: ExampleStore = field(init=False)

    def __post_init__(self) -> None:
        records = training_texts()
        text = TextTokenizer.train((str(record.segments[0].data) for record in records[:500]), 500)
        object.__setattr__(self, "tokenizers", check_network(recipe_of(0), text))
        if not any((self.build / "examples").glob("*/index.json")):
            ExampleStore.write(self.build / "examples/own", encode(records, self.tokenizers))
        object.__setattr__(self, "store", ExampleStore(self.build / "examples"))


def training_texts() -> list[Record]:
    """Of all tasks, their lengths in turn."""
    found = []
    for task, (least, most, count) in TEXTS.items():
        lengths = [least + number % (most - least + 1) for number in range(count)]
        found += [replace(chronicle(0, len(found) + n, length), task=task) for n, length in enumerate(lengths)]
    return found


def recipe_of(seed: int) -> Recipe:
    """The recipe of two stages with a small network, for texts alone."""
    small = load_recipe(find_recipe("two-stages"), NETWORK)
    recipe = in_one_process(small, seed, ROWS, steps=STEPS, ramp=STEPS // 20, save_every=SAVE_EVERY)
    return replace(recipe, elastic=PLAIN, sequence=replace(recipe.sequence, bpe_dropout=0.0))


def rows_that_stay() -> AbstractContextManager[None]:
    """Rows keep their length in mid-training, so that only short texts are read to its end."""
    return replaced(makers, "sequence_at", lambda recipe, step: sequence_at(recipe, min(step, recipe.training.border - 1)))


WITHIN: Mapping[str, Callable[[], AbstractContextManager[None]]] = {GROWN: nullcontext, SHORT: rows_that_stay}


def measure(study: Study, seed: int) -> dict[str, Measures]:
    """What was measured at the border and of both ways to go on from there, of one seed; what is kept is not measured again."""
    settings = {"steps": STEPS, "rows": ROWS, "texts": TEXTS, "network": NETWORK, "judged": [JUDGED, MENTIONS],
                "examples": study.store.fingerprint}  # fmt: skip
    folder, found = study.build / f"seed-{seed}", {}
    for name in (BEFORE, *WITHIN):
        make = partial(_first_stage, study, seed) if name == BEFORE else partial(_second_stage, study, name, seed)
        found[name] = kept(folder / f"{file_name(name)}.json", settings, make)
    if (folder / FIRST_STAGE).is_dir():
        shutil.rmtree(folder / FIRST_STAGE)
    return found


class _AtBorder(Exception):
    """The first stage is over, and its state is saved."""


def _first_stage(study: Study, seed: int) -> Measures:
    """Trains to the border, or goes on, and measures there; the state of the border stays for both ways to go on."""
    recipe, run, found = recipe_of(seed), study.build / f"seed-{seed}" / FIRST_STAGE, {}

    def stop(number: int, metrics: Mapping[str, float], network: Ernest) -> None:
        del metrics
        if number + 1 == recipe.training.border:
            found.update(losses(network.eval(), study.tokenizers))
            raise _AtBorder

    if (run / f"step-{recipe.training.border:07d}").is_dir():  # stopped while it was measured
        shutil.rmtree(run)
    with suppress(_AtBorder):
        _train(study, recipe, run, stop)
    return found


def _second_stage(study: Study, arm: str, seed: int) -> Measures:
    """Goes on from the border, or from where it was, and measures; the run itself is not kept."""
    folder = study.build / f"seed-{seed}"
    if not (folder / file_name(arm)).is_dir():
        if not (folder / FIRST_STAGE).is_dir():
            _first_stage(study, seed)
        with write_folder(folder / file_name(arm)) as aside:
            shutil.copytree(folder / FIRST_STAGE, aside, dirs_exist_ok=True)
    study.tell(f"seed {seed}: {arm}")
    with WITHIN[arm]():
        found = losses(_train(study, recipe_of(seed), folder / file_name(arm)).eval(), study.tokenizers)
    shutil.rmtree(folder / file_name(arm))
    return found


def _train(study: Study, recipe: Recipe, run: Path, on_step: loop.OnStep | None = None) -> Ernest:
    set_threads(1)
    run.mkdir(parents=True, exist_ok=True)
    return loop.train(recipe, study.store, study.tokenizers, run, on_step=on_step)


# ------------------------------------------------------------------ what is measured


def judged_texts() -> list[list[Mention]]:
    """The mentions of the held-out texts."""
    return [mentions(0, HELD_OUT + number, MENTIONS) for number in range(JUDGED)]


def begins(text: Sequence[Mention], tokenizers: Tokenizers) -> np.ndarray:
    """The number of the first token of each mention, and of the end; words are cut alike wherever they stand."""
    return np.cumsum([0, *(_tokens(number, str(one), tokenizers) for number, one in enumerate(text))])


def _tokens(number: int, words: str, tokenizers: Tokenizers) -> int:
    """Of words with which a mention begins, which a blank parts from the one before."""
    return len(tokenizers.text.encode(f" {words}" if number else words))


@torch.inference_mode()
def losses(network: Ernest, tokenizers: Tokenizers) -> Measures:
    """Of the held-out texts, as `summarise` tells them."""
    texts, each = judged_texts(), []
    records = (chronicle(0, HELD_OUT + number, MENTIONS) for number in range(JUDGED))
    packed = [lay_out_example(one, tokenizers, tokenizers.text.encode) for one in encode(records, tokenizers)]
    for start in range(0, len(packed), BATCH):
        some = packed[start : start + BATCH]
        batch = collate([[one] for one in some], max(len(one.layout) for one in some), tokenizers)
        nats = -target_log_probs(network(batch), batch).text
        each += [part.numpy() for part in nats.split([len(one.layout) for one in some])]
    return summarise(texts, each, tokenizers)


def readers(tokenizers: Tokenizers) -> dict[str, Measures]:
    """What the texts cost who knows the world and remembers all, or only the last 256 positions: no network can do better."""
    texts, found = judged_texts(), {}
    for name, window in ((REMEMBERS, 1 << 20), (FORGETS, 256)):
        each = []
        for text in texts:
            first = begins(text, tokenizers)
            since = [int(np.searchsorted(first, at - window)) for at in first[:-1]]
            values = surprises(text, since)
            each.append(np.repeat(np.array(values) / np.diff(first), np.diff(first)))
        found[name] = {key: value for key, value in summarise(texts, each, tokenizers).items() if key.startswith("loss")}
    return found


def summarise(texts: Sequence[Sequence[Mention]], each: Sequence[np.ndarray], tokenizers: Tokenizers) -> Measures:
    """Of the nats of every token of each text: those of a token by position, and those of a number, with its comma, by how far
    back it was told."""
    found: dict[str, list[float]] = {}
    for text, nats in zip(texts, each, strict=True):
        for low, high in SPANS:
            found.setdefault(span(low, high), []).extend(nats[low:high])
        first = begins(text, tokenizers)
        for number, one in enumerate(text):
            start = first[number] + _tokens(number, one.name, tokenizers)
            ago = first[number] - first[one.before]
            name = FIRST if one.before < 0 else NEAR if ago <= 64 else MIDDLE if ago <= 256 else FAR
            found.setdefault(name, []).append(float(nats[start : first[number + 1]].sum()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def span(low: int, high: int) -> str:
    """The name of the loss of these positions."""
    return f"loss, {low} to {high:,}"
