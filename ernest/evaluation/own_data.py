"""Scores a run on held-out records of its own data: what it reads right, and which direction never left its plateau.

Whether a direction looks at what it is given shows in its loss, beside that with what another record gives.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example, Form
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

    `loss` is that of what is made, of texts in nats for a whole text, of pictures in nats per bit, `other` the same with what
    another record gives, None where nothing is given or all records give the same; `error` is the standard error of their
    difference. `exact` is a share of `asked` prompts and `chance` what the commonest text would get, None where something else
    than a text is made. Of a task that makes several kinds there is a score for each `part`; what is made after something else
    may lean on that, and `leads` no more.
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
    part: str = ""
    leads: bool = True

    @property
    def name(self) -> str:
        """What is scored: the task, and the part of it."""
        return f"{self.task}, {self.part}" if self.part else self.task

    @property
    def on_plateau(self) -> bool:
        """Whether nothing shows that what is given is looked at."""
        if self.other is None or not self.leads:
            return False
        gain = self.other - self.loss
        return gain <= FROM_CHANCE * self.error or (self.texts > 0 and gain < LEAST_GAIN * np.log(self.texts))


def score_tasks(
    engine: Engine, store: ExampleStore, seed: int = 0, samples: int = SAMPLES
) -> tuple[list[DirectionScore], list[Sample]]:
    """Scores of each task of held-out examples, one for each kind that it makes, and of each some `samples` of what the model
    makes of them."""
    scores, shown = [], []
    for task, indices in store.tasks.items():
        examples = [store[int(index)] for index in indices]
        of_task, answers = _scores(task, engine, examples)
        scores += of_task
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
        f"{score.name} never left its plateau: its loss is {score.loss:.3f}, with what another record gives {score.other:.3f}. "
        f"{mend(score.task)}"
        for score in stuck
    ]


# ------------------------------------------------------------------ losses


def _scores(task: str, engine: Engine, examples: Sequence[Example]) -> tuple[list[DirectionScore], dict[str, str]]:
    losses, mixed = losses_by_kind(engine, examples), with_given_of_others(examples)
    others = dict(zip(mixed, losses_by_kind(engine, list(mixed.values())), strict=True)) if mixed else {}
    makes = np.array([[_makes(example, form) for form in _PARTS.values()] for example in examples])
    scores = []
    for kind, (part, form) in enumerate(_PARTS.items()):
        if not makes[:, kind].any():
            continue
        compared = [number for number in mixed if makes[number, kind]]
        own = losses[compared or makes[:, kind], kind]
        other, error = None, 0.0
        if compared:
            gain = np.array([others[number][kind] for number in compared]) - own
            other = float(own.mean() + gain.mean())
            error = float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else float("inf")
        part = part if makes.any(0).sum() > 1 else ""
        leads = any(_first_made(example).form == form for example in examples)
        score = DirectionScore(task, int(makes[:, kind].sum()), float(own.mean()), other, error, part=part, leads=leads)
        scores.append(score)
    right, answers = _answers(engine, examples)
    if right:
        commonest = Counter(text for texts in right.values() for text in texts).most_common(1)[0][0]
        exact = np.mean([answers[prompt] in texts for prompt, texts in right.items()])
        chance = np.mean([commonest in texts for texts in right.values()])
        different = len({text for texts in right.values() for text in texts})
        scores[0] = replace(scores[0], texts=different, exact=float(exact), chance=float(chance), asked=len(right))
    return scores, answers


_PARTS: dict[str, Form] = {"texts": "text", "pictures": "latent", "sounds": "codes"}
"""Kinds whose losses are told apart, in the order in which `losses_by_kind` has them, and the form of the segments of each."""


def _first_made(example: Example) -> EncodedSegment:
    return next(segment for segment in example.segments if segment.made)


def _makes(example: Example, form: Form) -> bool:
    return any(segment.made and segment.form == form for segment in example.segments)


def record_losses(engine: Engine, examples: Sequence[Example], together: int = 32, hidden: bool = False) -> np.ndarray:
    """The loss of all that each record makes, float `[records]`; with given texts `hidden`, as for guidance, where that is
    wanted."""
    return losses_by_kind(engine, examples, together, hidden).sum(1)


@torch.inference_mode()
def losses_by_kind(engine: Engine, examples: Sequence[Example], together: int = 32, hidden: bool = False) -> np.ndarray:
    """The losses of the texts, of the pictures and films, and of the sounds that each record makes, float `[records, 3]`."""
    tokenizers, losses = engine.tokenizers, []
    for start in range(0, len(examples), together):
        part = examples[start : start + together]
        packed = [lay_out_example(example, tokenizers, tokenizers.text.encode, hidden) for example in part]
        batch = collate([[example] for example in packed], max(len(example.layout) for example in packed), tokenizers)
        words = torch.tensor([_makes(example, "text") for example in part])
        losses.append(losses_of_rows(engine.model(batch, engine.submodels(len(packed))), batch, words))
    return torch.cat(losses).double().numpy()


def losses_of_rows(predictions: Predictions, batch: Batch, words: Tensor) -> Tensor:
    """The losses of each row, `[rows, 3]`: the sum over its text tokens, where it is one of those that make `words` `[rows]`, and
    the means over its bits and over its codes, as training weighs them."""
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
    return torch.stack([text * words, vision, sounds], 1)


def with_given_of_others(examples: Sequence[Example]) -> dict[int, Example]:
    """Examples that are given what another one is, which has other texts, by number; none where there is none. Another one of
    the same form comes first, and of several texts that may stand in one place, none is then the other one's. Else, as among
    documents, each of whose forms is its own, it is one that gives something of each form."""
    forms, mixed = [_form(example) for example in examples], {}

    def following(number: int, alike: bool) -> Iterator[Example]:
        others = ((number + step) % len(examples) for step in range(1, len(examples)))
        return (examples[one] for one in others if (forms[one] == forms[number]) == alike)

    for number, example in enumerate(examples):
        if all(segment.made for segment in example.segments):
            continue
        other = next((one for one in following(number, True) if _says_otherwise(one, example)), None)
        other = other or next((one for one in following(number, False) if _can_lend(one, example)), None)
        if other is not None:
            theirs = {form: cycle(segments) for form, segments in _given(other).items()}
            segments = (own if own.made else next(theirs[own.form, own.video]) for own in example.segments)
            mixed[number] = Example(tuple(segments), example.task)
    return mixed


def _form(example: Example) -> tuple[tuple[str, bool, bool], ...]:
    return tuple((segment.form, segment.made, segment.video) for segment in example.segments)


def _given(example: Example) -> dict[tuple[str, bool], list[EncodedSegment]]:
    """What an example is given, by form."""
    given: dict[tuple[str, bool], list[EncodedSegment]] = {}
    for segment in example.segments:
        if not segment.made:
            given.setdefault((segment.form, segment.video), []).append(segment)
    return given


def _says_otherwise(one: Example, other: Example) -> bool:
    """Whether a text of one could not stand in its place in the other."""
    texts = ([set(segment.texts) for segment in example.segments if segment.form == "text"] for example in (one, other))
    return any(own.isdisjoint(theirs) for own, theirs in zip(*texts, strict=True))


def _can_lend(one: Example, other: Example) -> bool:
    """Whether one gives something of each form that the other is given, and is no part of it, nor the other of the one."""
    ours, theirs = ({text for segment in example.segments if segment.form == "text" for text in segment.texts}
                    for example in (one, other))  # fmt: skip
    return not (ours <= theirs or theirs <= ours) and _given(other).keys() <= _given(one).keys()


# ------------------------------------------------------------------ answers


def _question(example: Example) -> tuple[tuple[EncodedSegment, ...], EncodedSegment] | None:
    """What is asked of a record: what stands before its first medium that is made or, of one that makes texts alone, before its
    last text; and what is right. None where nothing stands before."""
    media = [number for number, segment in enumerate(example.segments) if segment.made and segment.form != "text"]
    texts = [number for number, segment in enumerate(example.segments) if segment.made and segment.form == "text"]
    asked = media[0] if media else texts[-1]
    prompt = tuple(replace(segment, made=False) for segment in example.segments[:asked])
    return (prompt, example.segments[asked]) if prompt else None


def _answers(engine: Engine, examples: Sequence[Example]) -> tuple[dict[str, set[str]], dict[str, str]]:
    """The right texts of each different prompt, and the model's."""
    prompts: dict[str, Sequence[EncodedSegment]] = {}
    right: dict[str, set[str]] = {}
    for prompt, answer in filter(None, map(_question, examples)):
        if answer.form == "text":
            prompts.setdefault(_name(prompt), prompt)
            right.setdefault(_name(prompt), set()).update(answer.texts)
    return right, dict(zip(prompts, engine.texts(list(prompts.values())), strict=True)) if prompts else {}


def _name(prompt: Sequence[EncodedSegment]) -> str:
    return repr([segment.data if segment.form == "text" else segment.data.tobytes() for segment in prompt])


def _samples(engine: Engine, examples: Sequence[Example], answers: dict[str, str], seed: int, count: int) -> Iterator[Sample]:
    """A few of the records, and what the model makes of each; of several pictures that one is given, the last is shown."""
    drawn = np.random.default_rng(seed).permutation(len(examples))[:count]
    rate = engine.tokenizers.media.sample_rate
    for prompt, right in filter(None, (_question(examples[i]) for i in drawn)):
        words = " ".join(segment.data for segment in prompt if segment.form == "text")
        if right.form == "text":
            shown = [segment.data for segment in prompt if segment.form == "pixels"]
            pixels = None if not shown else shown[-1] if len(shown[-1]) > 1 else shown[-1][0]
            heard = [torch.from_numpy(segment.data).long() for segment in prompt if segment.form == "codes"]
            wave = engine.play(heard[-1:])[0] if heard else None
            answer = answers.get(_name(prompt), "")
            note = "" if answer in right.texts else f"in truth: {right.data}"
            yield Sample("read", words, answer, pixels, wave, correct=answer in right.texts, note=note, sample_rate=rate)
        elif right.form == "latent":
            make = engine.videos if right.video else engine.pictures
            yield Sample("drawn", words, pixels=make([prompt], seed=seed)[0])
        elif right.form == "codes":
            yield Sample("spoken", words, wave=engine.sounds([prompt], seed=seed)[0], sample_rate=rate)
