"""Scores a run on held-out records of its own data: what it reads right, and which direction never left its plateau.

Whether a direction looks at what it is given shows in its loss, beside that with what another record gives.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ernest.data.examples import EncodedSegment, Example
from ernest.data.store import ExampleStore
from ernest.evaluation.losses import FORMS, losses_by_kind, makes_form, with_given_of_others
from ernest.evaluation.results import Sample
from ernest.generation.engine import Engine

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


def _scores(task: str, engine: Engine, examples: Sequence[Example]) -> tuple[list[DirectionScore], dict[str, str]]:
    losses, mixed = losses_by_kind(engine, examples), with_given_of_others(examples)
    others = dict(zip(mixed, losses_by_kind(engine, list(mixed.values())), strict=True)) if mixed else {}
    makes = np.array([[makes_form(example, form) for form in FORMS.values()] for example in examples])
    scores = []
    for kind, (part, form) in enumerate(FORMS.items()):
        if not makes[:, kind].any():
            continue
        compared = [number for number in mixed if makes[number, kind]]
        own = losses[compared or makes[:, kind], kind]
        other, error = _other_loss(own, np.array([others[number][kind] for number in compared])) if compared else (None, 0.0)
        part = part if makes.any(0).sum() > 1 else ""
        leads = any(next(one for one in example.segments if one.made).form == form for example in examples)
        score = DirectionScore(task, int(makes[:, kind].sum()), float(own.mean()), other, error, part=part, leads=leads)
        scores.append(score)
    right, answers = _answers(engine, examples)
    if right:
        scores[0] = _with_answers(scores[0], right, answers)
    return scores, answers


def _other_loss(own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """The loss with what another record gives, and the standard error of its difference."""
    gain = others - own
    return float(own.mean() + gain.mean()), float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else float("inf")


def _with_answers(score: DirectionScore, right: dict[str, set[str]], answers: dict[str, str]) -> DirectionScore:
    """The score with the share of prompts whose answer is one of the right ones, beside that of the commonest text alone."""
    commonest = Counter(text for texts in right.values() for text in texts).most_common(1)[0][0]
    exact = np.mean([answers[prompt] in texts for prompt, texts in right.items()])
    chance = np.mean([commonest in texts for texts in right.values()])
    different = len({text for texts in right.values() for text in texts})
    return replace(score, texts=different, exact=float(exact), chance=float(chance), asked=len(right))


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
            right.setdefault(_name(prompt), set()).update(answer.versions)
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
            note = "" if answer in right.versions else f"in truth: {right.data}"
            yield Sample("read", words, answer, pixels, wave, correct=answer in right.versions, note=note, sample_rate=rate)
        elif right.form == "latent":
            make = engine.videos if right.video else engine.pictures
            yield Sample("drawn", words, pixels=make([prompt], seed=seed)[0])
        elif right.form == "codes":
            yield Sample("spoken", words, wave=engine.sounds([prompt], seed=seed)[0], sample_rate=rate)
