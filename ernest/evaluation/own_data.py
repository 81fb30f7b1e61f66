"""Scores a run on held-out records of its own data: what it reads right, and which direction never left its plateau.

Whether a direction looks at what it is given shows in its loss, beside that with what another record gives.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import lay_out_example
from ernest.data.store import ExampleStore
from ernest.evaluation.results import Sample
from ernest.generation.engine import Engine
from ernest.model.network import Predictions
from ernest.sequence.batch import Batch

SAMPLES = 8
"""Samples of a direction in the report, at most."""
FROM_CHANCE, LEAST_GAIN = 3.0, 0.1
"""A direction that has left its plateau gains this many standard errors by what it is given; where it makes text, it also gains
this share of what there is to know, the logarithm of the number of different texts."""


@dataclass(frozen=True)
class DirectionScore:
    """The held-out records of a task: losses, each record counting once, and how many texts were exactly one of the right ones.

    `loss` is that of what is made, of texts in nats for a whole text, `other` the same with what another record gives, None where
    nothing is given or all records give the same; `error` is the standard error of their difference. `exact` is a share of
    `asked` prompts and `chance` what the commonest text would get, None where something else than a text is made.
    """

    task: str
    count: int
    loss: float
    other: float | None = None
    error: float = 0.0
    texts: int = 0
    exact: float | None = None
    chance: float | None = None
    asked: int = 0

    @property
    def on_plateau(self) -> bool:
        """Whether nothing shows that what is given is looked at."""
        if self.other is None:
            return False
        gain = self.other - self.loss
        return gain <= FROM_CHANCE * self.error or (self.texts > 0 and gain < LEAST_GAIN * np.log(self.texts))


def score_tasks(
    engine: Engine, store: ExampleStore, seed: int = 0, samples: int = SAMPLES
) -> tuple[list[DirectionScore], list[Sample]]:
    """A score for each task of held-out examples, and some `samples` of each of what the model makes of them."""
    scores, shown = [], []
    for task, indices in store.tasks.items():
        examples = [store[int(index)] for index in indices]
        score, answers = _score(task, engine, examples)
        scores.append(score)
        shown += _samples(engine, examples, answers, seed, samples)
    return scores, shown


def advice(scores: Sequence[DirectionScore], weights: dict[str, float], steps: int) -> list[str]:
    """A line for each direction that never left its plateau: what shows it, and what to do. One can only weigh more than others,
    which helps where these have learnt."""
    stuck = [score for score in scores if score.on_plateau]
    longer = f"train longer, --set training.steps={2 * steps}"

    def mend(task: str) -> str:
        if len(stuck) == len(scores):
            return longer.capitalize()
        return f"Let it weigh more, --set 'mixture.{task}={3 * weights[task]:g}', or {longer}"

    return [
        f"{score.task} never left its plateau: its loss is {score.loss:.3f}, with what another record gives {score.other:.3f}. "
        f"{mend(score.task)}"
        for score in stuck
    ]


# ------------------------------------------------------------------ losses


def _score(task: str, engine: Engine, examples: Sequence[Example]) -> tuple[DirectionScore, dict[str, str]]:
    losses = record_losses(engine, examples)
    other, error = None, 0.0
    mixed = with_given_of_others(examples)
    if mixed:
        gain = record_losses(engine, list(mixed.values())) - losses[list(mixed)]
        other = float(losses[list(mixed)].mean() + gain.mean())
        error = float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else float("inf")
    loss = float(losses[list(mixed)].mean() if mixed else losses.mean())
    score = DirectionScore(task, len(examples), loss, other, error)
    if not _reads(examples[0]):
        return score, {}
    right, answers = _answers(engine, examples)
    commonest = Counter(text for texts in right.values() for text in texts).most_common(1)[0][0]
    exact = np.mean([answers[prompt] in texts for prompt, texts in right.items()])
    chance = np.mean([commonest in texts for texts in right.values()])
    different = len({text for texts in right.values() for text in texts})
    return replace(score, texts=different, exact=float(exact), chance=float(chance), asked=len(right)), answers


@torch.inference_mode()
def record_losses(engine: Engine, examples: Sequence[Example], together: int = 32, hidden: bool = False) -> np.ndarray:
    """The loss of what each record makes, float `[records]`; with given texts `hidden`, as for guidance, where that is wanted."""
    tokenizers, losses = engine.tokenizers, []
    for start in range(0, len(examples), together):
        part = examples[start : start + together]
        packed = [lay_out_example(example, tokenizers, tokenizers.text.encode, hidden) for example in part]
        batch = collate([[example] for example in packed], max(len(example.layout) for example in packed), tokenizers)
        words = torch.tensor([any(one.made and one.form == "text" for one in example.segments) for example in part])
        losses.append(loss_of_rows(engine.model(batch, engine.submodels(len(packed))), batch, words))
    return torch.cat(losses).double().numpy()


def loss_of_rows(predictions: Predictions, batch: Batch, words: Tensor) -> Tensor:
    """The loss of each row: the sum over its text tokens, where it is one of those that make `words` `[rows]`, and the means over
    its bits and its codes, as training weighs them."""
    rows, length = batch.token_id.shape

    def summed(index: Tensor, values: Tensor) -> Tensor:
        return values.new_zeros(rows).index_add_(0, index // length, values)

    targets = batch.token_target.flatten()[batch.token_index]
    cells, codes = batch.cell_targets, batch.code_targets
    text = summed(batch.token_index, F.cross_entropy(predictions.text.float(), targets, reduction="none"))
    bits = F.binary_cross_entropy_with_logits(predictions.bits.float(), cells.bits, reduction="none").mean(1)
    vision = summed(cells.index, bits * cells.weight) / summed(cells.index, cells.weight).clamp_min(1e-9)
    levels = zip(predictions.codes, codes.value.T, strict=True)
    audio = torch.stack([F.cross_entropy(logits.float(), level, reduction="none") for logits, level in levels]).mean(0)
    sounds = summed(codes.index, audio) / summed(codes.index, torch.ones_like(audio)).clamp_min(1)
    return text * words + vision + sounds


def with_given_of_others(examples: Sequence[Example]) -> dict[int, Example]:
    """Examples that are given what another one of the same form is, which has other texts, by number; none where there is none.
    Of several texts that may stand in one place, none is the other one's."""
    mixed = {}
    for number, example in enumerate(examples):
        following = (examples[(number + step) % len(examples)] for step in range(1, len(examples)))
        other = next((one for one in following if _form(one) == _form(example) and _says_otherwise(one, example)), None)
        if other is not None and any(not segment.made for segment in example.segments):
            pairs = zip(example.segments, other.segments, strict=True)
            mixed[number] = Example(tuple(own if own.made else theirs for own, theirs in pairs), example.task)
    return mixed


def _form(example: Example) -> tuple[tuple[str, bool, bool], ...]:
    return tuple((segment.form, segment.made, segment.video) for segment in example.segments)


def _says_otherwise(one: Example, other: Example) -> bool:
    """Whether a text of one could not stand in its place in the other."""
    texts = ([set(segment.texts) for segment in example.segments if segment.form == "text"] for example in (one, other))
    return any(own.isdisjoint(theirs) for own, theirs in zip(*texts, strict=True))


# ------------------------------------------------------------------ answers


def _reads(example: Example) -> bool:
    """Whether a record ends in a text that is made, after something that is given."""
    *before, last = example.segments
    return last.form == "text" and last.made and bool(before) and not any(segment.made for segment in before)


def _answers(engine: Engine, examples: Sequence[Example]) -> tuple[dict[str, set[str]], dict[str, str]]:
    """The right texts of each different prompt, and the model's."""
    prompts: dict[str, Sequence[EncodedSegment]] = {}
    right: dict[str, set[str]] = {}
    for example in examples:
        if _reads(example):
            name = _name(example.segments[:-1])
            prompts.setdefault(name, example.segments[:-1])
            right.setdefault(name, set()).update(example.segments[-1].texts)
    return right, dict(zip(prompts, engine.texts(list(prompts.values())), strict=True))


def _name(prompt: Sequence[EncodedSegment]) -> str:
    return repr([segment.data if segment.form == "text" else segment.data.tobytes() for segment in prompt])


def _samples(engine: Engine, examples: Sequence[Example], answers: dict[str, str], seed: int, count: int) -> Iterator[Sample]:
    """A few of the records, and what the model makes of each."""
    drawn = np.random.default_rng(seed).permutation(len(examples))[:count]
    rate = engine.tokenizers.media.sample_rate
    for example in (examples[i] for i in drawn):
        *given, last = example.segments
        if not given or any(segment.made for segment in given):
            continue
        words = " ".join(segment.data for segment in given if segment.form == "text")
        shown = next((segment.data for segment in given if segment.form == "pixels"), None)
        pixels = None if shown is None else shown if len(shown) > 1 else shown[0]
        heard = [torch.from_numpy(segment.data).long() for segment in given if segment.form == "codes"]
        wave = engine.play(heard)[0] if heard else None
        if last.form == "text":
            answer = answers.get(_name(given), "")
            note = "" if answer in last.texts else f"in truth: {last.data}"
            yield Sample("read", words, answer, pixels, wave, correct=answer in last.texts, note=note, sample_rate=rate)
        elif last.form == "latent":
            make = engine.videos if last.video else engine.pictures
            yield Sample("drawn", words, pixels=make([given], seed=seed)[0])
        elif last.form == "codes":
            yield Sample("spoken", words, wave=engine.sounds([given], seed=seed)[0], sample_rate=rate)
