"""Whether the context grows in mid-training without loss: two stages on long texts, beside a run whose rows never grew.

Both read as many positions in as many steps, at the same rates. What is measured is the loss by position in texts of a thousand
positions that no run has seen, and what a number costs that was told before, by how far back that was.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.data.collate import collate
from ernest.data.examples import encode
from ernest.data.layout import lay_out_example
from ernest.data.store import ExampleStore
from ernest.device import set_threads
from ernest.model.likelihood import target_log_probs
from ernest.model.network import Ernest
from ernest.results.elastic import PLAIN
from ernest.results.units import kept
from ernest.sequence.record import Record
from ernest.storage import write_text
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.training.loop import train
from ernest.training.tokenizers import check_network
from ernest.world.chronicles import Mention, chronicle, mentions, surprises
from ernest.world.split import HELD_OUT

STEPS, ROWS, SAVE_EVERY = 800, 8, 70
"""Of a run. It saves no state at the border, so that whoever goes on from one behind it has been there."""
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
        object.__setattr__(self, "tokenizers", check_network(recipe_of(GROWN, 0), text))
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


def recipe_of(arm: str, seed: int) -> Recipe:
    """The recipe of two stages with a small network, and of texts alone; one that never grew reads the short ones to its end."""
    small = load_recipe(find_recipe("two-stages"), NETWORK)
    training = replace(small.training, steps=STEPS, ramp=STEPS // 20, save_every=SAVE_EVERY, show_every=0)
    sequence = replace(small.sequence, rows=ROWS, bpe_dropout=0.0)
    recipe = replace(small, seed=seed, elastic=PLAIN, training=training, sequence=sequence,
                     parallel=replace(small.parallel, replicate=1))  # fmt: skip
    if arm == GROWN:
        return recipe
    only = {task: float(task == "short") for task in TEXTS}
    return replace(recipe, mixture=only, sequence=replace(sequence, grows_to=()))


def measure(study: Study, seed: int) -> dict[str, Measures]:
    """What was measured of each run of one seed, of the one that grew also at the border; what is kept is not measured again."""
    settings = {
        "steps": STEPS,
        "rows": ROWS,
        "texts": TEXTS,
        "network": NETWORK,
        "judged": [JUDGED, MENTIONS],
        "examples": study.store.fingerprint,
    }
    found: dict[str, Measures] = {}
    for arm in (GROWN, SHORT):
        path = study.build / f"seed-{seed}" / f"{arm.replace(' ', '-').replace(',', '')}.json"
        found |= kept(path, settings, lambda arm=arm: _measured(study, arm, seed))
    return found


def _measured(study: Study, arm: str, seed: int) -> dict[str, Measures]:
    """Trains an arm, or goes on, and measures it; the run itself is not kept."""
    set_threads(1)
    recipe, run = recipe_of(arm, seed), study.build / f"seed-{seed}" / arm.replace(" ", "-")
    run.mkdir(parents=True, exist_ok=True)
    study.tell(f"seed {seed}: {arm}, {STEPS} steps")
    before = run / "before.json"

    def look(number: int, metrics: Mapping[str, float], network: Ernest) -> None:
        del metrics
        if arm == GROWN and number + 1 == recipe.training.border:
            write_text(before, json.dumps(losses(network.eval(), study.tokenizers)))
            network.train()

    network = train(recipe, study.store, study.tokenizers, run, on_step=look)
    found = {arm: losses(network.eval(), study.tokenizers)}
    if arm == GROWN:
        found[BEFORE] = json.loads(before.read_text())
    shutil.rmtree(run)
    return found


# ------------------------------------------------------------------ what is measured


def judged_texts() -> list[list[Mention]]:
    """The mentions of the held-out texts."""
    return [mentions(0, HELD_OUT + number, MENTIONS) for number in range(JUDGED)]


def begins(told: Sequence[Mention], tokenizers: Tokenizers) -> np.ndarray:
    """The number of the first token of each mention, and of the end; words are cut alike wherever they stand."""
    return np.cumsum([0, *(_tokens(number, str(one), tokenizers) for number, one in enumerate(told))])


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
        for told in texts:
            first = begins(told, tokenizers)
            since = [int(np.searchsorted(first, at - window)) for at in first[:-1]]
            values = surprises(told, since)
            each.append(np.repeat(np.array(values) / np.diff(first), np.diff(first)))
        found[name] = {key: value for key, value in summarise(texts, each, tokenizers).items() if key.startswith("loss")}
    return found


def summarise(texts: Sequence[Sequence[Mention]], each: Sequence[np.ndarray], tokenizers: Tokenizers) -> Measures:
    """Of the nats of every token of each text: those of a token by position, and those of a number, with its comma, by how far
    back it was told."""
    found: dict[str, list[float]] = {}
    for told, nats in zip(texts, each, strict=True):
        for low, high in SPANS:
            found.setdefault(span(low, high), []).extend(nats[low:high])
        first = begins(told, tokenizers)
        for number, one in enumerate(told):
            start = first[number] + _tokens(number, one.name, tokenizers)
            ago = first[number] - first[one.before]
            name = FIRST if one.before < 0 else NEAR if ago <= 64 else MIDDLE if ago <= 256 else FAR
            found.setdefault(name, []).append(float(nats[start : first[number + 1]].sum()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def span(low: int, high: int) -> str:
    """The name of the loss of these positions."""
    return f"loss, {low} to {high:,}"
