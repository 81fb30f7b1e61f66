"""What can be trained: directions of the embedded world, each with its prompts and the verifiers that may judge its answers."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ernest.checkpoint import Learnt
from ernest.config.media import USUAL, MediaSpec, written_differently
from ernest.config.rl import RLRecipe, TaskConfig
from ernest.data.examples import encode_segments
from ernest.generation.engine import Engine
from ernest.generation.known import refuse_unlearnt
from ernest.generation.request import MadeSegment
from ernest.generation.sampling import Sampling
from ernest.rl.rollout import Ask, Response, check_sampling
from ernest.sequence.record import Kind, Record, Segment, given, made
from ernest.tokenizers.bundle import Tokenizers
from ernest.verifiers import rules
from ernest.verifiers.endpoint import is_endpoint
from ernest.verifiers.judges import Judges
from ernest.verifiers.own import is_own, own_verifier
from ernest.verifiers.speech import verify_word
from ernest.verifiers.verdict import Verdict, Verifier, all_pass, one_line
from ernest.verifiers.vision import verify_digit, verify_family
from ernest.world import solutions, text
from ernest.world.images import COLOURS, PLACES, caption
from ernest.world.speech import VOICES, WORDS
from ernest.world.split import generator
from ernest.world.video import FAMILIES
from ernest.world.world import record


@dataclass(frozen=True)
class Task:
    """Prompts as records, a function of (seed, number), the kind of their answers, and the verifiers that fit. Films have as many
    `frames` as are told."""

    record: Callable[[int, int], Record]
    kind: Kind
    verifiers: tuple[str, ...]
    frames: int | None = None


RULES: Mapping[str, Verifier] = {
    "energy law": rules.energy_law,
    "area law": rules.area_law,
    "coarse area law": rules.coarse_area_law,
    "colour and place": rules.colour_and_place,
    "caption": rules.caption,
    "word": rules.word,
    "answer about a picture": rules.picture_answer,
    "answer in words": rules.text_answer,
    "worked solution": rules.worked_solution,
    "worked answer": rules.worked_answer,
}
"""Verifiers that need nothing, by the name that a recipe calls them."""
JUDGED: Mapping[str, Callable[[Judges], Verifier]] = {
    "family": lambda judges: verify_family(judges.families),
    "digit": lambda judges: verify_digit(judges.digits),
    "spoken word": lambda judges: verify_word(judges.words),
}
"""Those of the learned judges."""


def _film(seed: int, number: int) -> Record:
    """The families in turn."""
    family = FAMILIES[number % len(FAMILIES)]
    return _ask("text→video", family, made("video", np.zeros((1, 1, 1, 3), np.uint8)), {"family": family})


def _picture(seed: int, number: int) -> Record:
    rng = generator(seed, number, "picture to make")
    digit, colour, place = int(rng.integers(10)), *(str(rng.choice(list(names))) for names in (COLOURS, PLACES))
    facts = {"digit": digit, "colour": colour, "place": place}
    return _ask("text→image", caption(digit, colour, place), made("image", np.zeros((1, 1, 3), np.uint8)), facts)


def _spoken(seed: int, number: int) -> Record:
    rng = generator(seed, number, "word to speak")
    voice, word = VOICES[rng.integers(len(VOICES))].name, WORDS[rng.integers(len(WORDS))]
    return _ask("text→speech", f"{voice} says {word}", made("audio", np.zeros(1, np.float32)), {"word": word, "voice": voice})


def _question(seed: int, number: int) -> Record:
    """The next text that asks something."""
    for attempt in range(1000):
        found = text.story(seed, 1000 * number + attempt)
        if "question" in found.facts:
            return found
    raise AssertionError("most texts ask something")


def _ask(task: str, words: str, blank: Segment, facts: Mapping[str, Any]) -> Record:
    return Record((given("text", words), blank), task, facts)


def _of_world(task: str) -> Callable[[int, int], Record]:
    return lambda seed, number: record(seed, number, task)


TASKS: Mapping[str, Task] = {
    "text→video": Task(_film, "video", ("family", "energy law", "area law", "coarse area law"), MediaSpec.frames),
    "text→image": Task(_picture, "image", ("digit", "colour and place")),
    "text→speech": Task(_spoken, "audio", ("spoken word",)),
    "image→text": Task(_of_world("image→text"), "text", ("caption",)),
    "speech→text": Task(_of_world("speech→text"), "text", ("word",)),
    "question about image": Task(_of_world("question about image"), "text", ("answer about a picture",)),
    "questions in words": Task(_question, "text", ("answer in words",)),
    "worked solution": Task(solutions.worked, "text", ("worked solution", "worked answer")),
    "worked product": Task(solutions.product, "text", ("worked solution", "worked answer")),
}
"""By the name that a recipe calls them."""
assert all(name in RULES or name in JUDGED for task in TASKS.values() for name in task.verifiers)


@dataclass(frozen=True, eq=False)
class Trained:
    """A task of a recipe, ready to be asked: its name, its verifiers, and how it is sampled. `known` are all that fit it, the
    user's among them."""

    name: str
    task: Task
    config: TaskConfig
    rewarding: Verifier
    watched: Mapping[str, Verifier]
    known: Mapping[str, Verifier]
    sampling: Sampling
    at_once: int
    """Verdicts that are waited for at the same time: more than one where an endpoint is asked."""

    def ask(self, prompt: Record, tokenizers: Tokenizers, sampling: Sampling | None = None) -> Ask:
        """What a prompt asks of the sampler, by default as the recipe samples."""
        segments = tuple(segment for segment in prompt.segments if not segment.made)
        latents = None if self.task.frames is None else tokenizers.media.latents(self.task.frames)
        return Ask(encode_segments(segments, tokenizers), self.task.kind, sampling or self.sampling, latents)


def check_tasks(recipe: RLRecipe) -> None:
    """Raises ValueError for a task or verifier that is not there, and for a sampling that cannot be trained."""
    for config in recipe.tasks:
        if config.task not in TASKS:
            raise ValueError(f"tasks: {config.task!r} is none of {', '.join(TASKS)}")
        for name in (*config.verifiers, *config.watched):
            if not is_own(name) and name not in TASKS[config.task].verifiers:
                known = ", ".join(TASKS[config.task].verifiers)
                raise ValueError(f"tasks: {config.task}: verifier {name!r} is none of {known}, nor module:function or an address")
        check_sampling(_sampling(config), f"tasks: {config.task}")


def own_verifiers(recipe: RLRecipe) -> dict[str, Verifier]:
    """The user's own verifiers of a recipe by their names, those that are functions in running processes.

    Raises ValueError for one that is not there."""
    limits = recipe.verifying
    names = dict.fromkeys(name for task in recipe.tasks for name in (*task.verifiers, *task.watched) if is_own(name))
    return {name: own_verifier(name, limits.timeout, limits.retries) for name in names}


def needs_judges(recipe: RLRecipe) -> bool:
    """Whether a task of the recipe has verifiers that are learned judges."""
    return any(name in JUDGED for task in recipe.tasks for name in (*task.verifiers, *task.watched))


def trained_tasks(recipe: RLRecipe, judges: Judges | None, own: Mapping[str, Verifier]) -> list[Trained]:
    """The tasks of a recipe that `check_tasks` has passed, with the user's `own_verifiers`. One that comes again has its turn in
    its name, by which its numbers are told apart. Without judges, only the others are `known`."""
    found: list[Trained] = []
    for config in recipe.tasks:
        task, named = TASKS[config.task], (*config.verifiers, *config.watched)
        shipped = [name for name in task.verifiers if judges is not None or name in RULES or name in named]
        known = {name: _shipped(name, judges) for name in shipped} | {name: own[name] for name in named if is_own(name)}
        rewarding = all_pass(*(known[name] for name in config.verifiers))
        watched = {name: known[name] for name in config.watched}
        at_once = recipe.verifying.at_once if any(map(is_endpoint, named)) else 1
        turn = 1 + sum(one.config.task == config.task for one in found)
        name = config.task if turn == 1 else f"{config.task} ({turn})"
        found.append(Trained(name, task, config, rewarding, watched, known, _sampling(config), at_once))
    return found


def check_fit(tasks: Sequence[Trained], tokenizers: Tokenizers, learnt: Learnt, seed: int) -> None:
    """Raises ValueError for kinds that a model never learnt, and where its media are not those of the world, of which prompts and
    judges are."""
    for task in tasks:
        prompt = task.task.record(seed, 0)
        kinds = {segment.kind for segment in prompt.segments if not segment.made}
        if any(name in JUDGED for name in (*task.config.verifiers, *task.config.watched)):
            kinds.add(task.task.kind)
        for kind in sorted(kinds - {"text"}):
            if difference := written_differently(tokenizers.media, USUAL, kind):
                raise ValueError(
                    f"tasks: {task.name}: its prompts and judges are made for {difference[1]}, and the model for {difference[0]}"
                )
        if "video" in kinds and tokenizers.media.frames < USUAL.frames:
            most = tokenizers.media.frames
            raise ValueError(f"tasks: {task.name}: its judges look at {USUAL.frames} frames, and the model makes {most} at most")
        try:
            refuse_unlearnt(learnt, task.ask(prompt, tokenizers).prompt, (task.task.kind,), 0)
        except ValueError as error:
            raise ValueError(f"tasks: {task.name}: {error}") from error


def _shipped(name: str, judges: Judges | None) -> Verifier:
    if name in RULES:
        return RULES[name]
    assert judges is not None
    return JUDGED[name](judges)


def _sampling(config: TaskConfig) -> Sampling:
    return Sampling(config.temperature, config.top_p, config.guidance, config.first_frame_temperature)


def task_of(tasks: Sequence[Trained], seed: int, number: int, update: int) -> Trained:
    """The task of a prompt, drawn by the shares of those that have begun before the `update` whose turn it is."""
    tasks = [task for task in tasks if task.config.begin <= update]
    if len(tasks) == 1:
        return tasks[0]
    shares = np.array([task.config.share for task in tasks])
    return tasks[int(generator(seed, number, "task").choice(len(tasks), p=shares / shares.sum()))]


def outputs(responses: Sequence[Response], engine: Engine) -> list[list[Segment]]:
    """What was made, as texts, frames and waves: one segment each, or none where a text is empty."""
    values: list[MadeSegment] = [response.segments[0] for response in responses if response.segments]
    shown = [value.value for value in values if value.kind in ("image", "video")]
    heard = [value.value for value in values if value.kind == "audio"]
    frames, waves = iter(engine.draw(shown)), iter(engine.play(heard))
    found = []
    for response in responses:
        value = response.segments[0] if response.segments else None
        if value is None:
            found.append([])
        elif value.kind == "text":
            words = engine.tokenizers.text.decode(value.value)
            found.append([made("text", words)] if words else [])
        elif value.kind == "audio":
            found.append([made("audio", next(waves))])
        else:
            film = next(frames)
            found.append([made(value.kind, film if value.kind == "video" else film[0])])
    return found


def verdicts(jobs: Sequence[tuple[Verifier, Record, Sequence[Segment]]], at_once: int) -> list[Verdict | str]:
    """The `verdict` of every (verifier, prompt, output), in this order."""
    if at_once == 1:
        return [verdict(*job) for job in jobs]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda job: verdict(*job), jobs))


def verdict(verifier: Verifier, prompt: Record, output: Sequence[Segment]) -> Verdict | str:
    """What a verifier says, or one line of why it failed: that costs the sample, never the run."""
    try:
        return verifier(prompt, output)
    except Exception as error:
        return one_line(error)
