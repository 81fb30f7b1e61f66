"""Make training records of every task between text, pictures, speech and video.

A record is a pure function of `(seed, index)` and the sizes of its media: the same on every processor, whichever others are
made with it, and never seen in training from index `HELD_OUT` on. Its `facts` hold what the verifiers of its answer need.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ernest.sequence.record import Kind, Record, Segment, given, made
from ernest.world import speech, text, video
from ernest.world.albums import ALBUMS, album
from ernest.world.images import COLOURS, DIGITS, PLACES, WHERE, caption, pictures
from ernest.world.sizes import FRAMES, SIZE
from ernest.world.speech import VOICES, WORDS, Voice
from ernest.world.split import generator
from ernest.world.video import DIRECTIONS, FAMILIES

TASKS = (
    "text→image",
    "image→text",
    "text→speech",
    "speech→text",
    "text→video",
    "video→text",
    "text→first frame",
    "text",
    "question about image",
)
"""The directions that are trained."""
UNTRAINED = ("image→speech", "speech→image")
"""Directions between parts of the world that meet in no training record: a picture, and its digit spoken."""

MOVING = "moving digit"
"""The `family` of the videos that show no physics: one in six."""


@dataclass(frozen=True)
class _Medium:
    """A picture, a clip or a video, the words for it, and the facts that it shows."""

    kind: Kind
    data: np.ndarray
    words: str
    facts: Mapping[str, Any]


def record(seed: int, index: int, task: str | None = None) -> Record:
    """The record `index`, of `task` or of the task whose turn it is at this index."""
    return records(TASKS[index % len(TASKS)] if task is None else task, seed, [index])[0]


def records(
    task: str, seed: int, indices: Sequence[int], voices: tuple[Voice, ...] = VOICES, size: int = SIZE, frames: int = FRAMES
) -> list[Record]:
    """Records of one task, one for each index, whatever the others are; many at once are made faster than one by one.

    Speech is by `voices`; pictures and videos are `size` pixels wide and high, videos of `frames`. Raises ValueError for a task
    that is none of `TASKS`, `UNTRAINED` and `ALBUMS`, whose records are documents of alternating kinds.
    """
    return records_of_tasks((task,), seed, indices, voices, size, frames)


def records_of_tasks(
    tasks: Sequence[str],
    seed: int,
    indices: Sequence[int],
    voices: tuple[Voice, ...] = VOICES,
    size: int = SIZE,
    frames: int = FRAMES,
) -> list[Record]:
    """As `records`, of several tasks, index by index; a picture, clip or video that several of them share is made once."""
    for name, value in (("size", size), ("frames", frames)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: expected a whole number from 1 on, got {value!r}")
    known = (*TASKS, *UNTRAINED, *ALBUMS)
    for task in tasks:
        if task not in known:
            raise ValueError(f"task: {task!r} is none of {', '.join(known)}")
    needed = {_MEDIUM_OF[task] for task in tasks}
    images = _pictures(seed, indices, size) if "picture" in needed else ()
    clips = [_speech(seed, index, voices) for index in indices] if "speech" in needed else ()
    films = _videos(seed, indices, size, frames) if "video" in needed else ()
    result = []
    for position, index in enumerate(indices):
        for task in tasks:
            if task in ALBUMS:
                result.append(album(task, seed, index, voices, size))
            elif task == "text":
                result.append(text.story(seed, index))
            elif task == "question about image":
                result.append(_picture_question(seed, index, images[position]))
            elif task in UNTRAINED:
                result.append(_spoken_digit(task, seed, index, images[position]))
            else:
                medium = {"picture": images, "speech": clips, "video": films}[_MEDIUM_OF[task]][position]
                result.append(Record(_SEGMENTS_OF[task](medium), task, medium.facts))
    return result


_MEDIUM_OF: Mapping[str, str] = {
    **dict.fromkeys(("text→image", "image→text", "question about image", *UNTRAINED), "picture"),
    **dict.fromkeys(("text→speech", "speech→text"), "speech"),
    **dict.fromkeys(("text→video", "video→text", "text→first frame"), "video"),
    "text": "story",
    **dict.fromkeys(ALBUMS, "album"),
}


def texts_for_bpe(seed: int, count: int) -> list[str]:
    """Texts of all tasks, in about the proportions of their records, for training the text tokenizer."""
    return [_text(seed, index) for index in range(count)]


# ------------------------------------------------------------------ what is shown


def _pictures(seed: int, indices: Sequence[int], size: int) -> list[_Medium]:
    return [
        _Medium(
            "image",
            picture.pixels,
            caption(picture.digit, picture.colour, picture.place),
            {"digit": picture.digit, "colour": picture.colour, "place": picture.place},
        )
        for picture in pictures(seed, indices, size)
    ]


def _speech(seed: int, index: int, voices: tuple[Voice, ...], words: tuple[str, ...] = WORDS) -> _Medium:
    clip = speech.speech(seed, index, voices, words)
    facts = {"word": clip.word, "voice": clip.voice, "rate": clip.rate, "pitch": clip.pitch}
    return _Medium("audio", clip.wave, clip.word, facts)


def _videos(seed: int, indices: Sequence[int], size: int, frames: int) -> list[_Medium]:
    """The physics of one family is solved together."""
    families = [int(generator(seed, index, "video").integers(len(FAMILIES) + 1)) for index in indices]
    media: dict[int, _Medium] = {}
    for family, name in enumerate(FAMILIES):
        positions = [position for position, draw in enumerate(families) if draw == family]
        videos = video.simulate(family, seed, [indices[position] for position in positions], size, frames)
        for position, frames_of_one in zip(positions, videos, strict=True):
            media[position] = _Medium("video", frames_of_one, name, {"family": name})
    for position, index in enumerate(indices):
        if position not in media:
            digit = video.moving_digit(seed, index, size, frames)
            facts = {"family": MOVING, "digit": digit.digit, "direction": digit.direction}
            media[position] = _Medium("video", digit.frames, video.moving_caption(digit.digit, digit.direction), facts)
    return [media[position] for position in range(len(indices))]


# ------------------------------------------------------------------ how it becomes a record


def _describe(medium: _Medium) -> tuple[Segment, ...]:
    return given(medium.kind, medium.data), made("text", medium.words)


def _make(medium: _Medium) -> tuple[Segment, ...]:
    return given("text", medium.words), made(medium.kind, medium.data)


def _speak(medium: _Medium) -> tuple[Segment, ...]:
    return given("text", f"{medium.facts['voice']} says {medium.words}"), made("audio", medium.data)


def _begin(medium: _Medium) -> tuple[Segment, ...]:
    """Only the first frame, which decides what a video becomes and is the hardest to make."""
    return given("text", medium.words), made("video", medium.data[:1], open=True)


_SEGMENTS_OF: Mapping[str, Callable[[_Medium], tuple[Segment, ...]]] = {
    "text→image": _make,
    "image→text": _describe,
    "text→speech": _speak,
    "speech→text": _describe,
    "text→video": _make,
    "video→text": _describe,
    "text→first frame": _begin,
}


def _picture_question(seed: int, index: int, medium: _Medium) -> Record:
    question, answer = _question(generator(seed, index, "question about image"), medium.facts)
    segments = given("image", medium.data), given("text", question), made("text", answer)
    return Record(segments, "question about image", {**medium.facts, "question": question, "answer": answer})


def _question(rng: np.random.Generator, facts: Mapping[str, Any]) -> tuple[str, str]:
    digit, colour, place = DIGITS[facts["digit"]], facts["colour"], facts["place"]
    match int(rng.integers(5)):
        case 0:
            return "what colour is it?", colour
        case 1:
            return "which digit is it?", digit
        case 2:
            return "where is it?", WHERE[place]
        case 3:
            guess = colour if rng.random() < 0.5 else COLOURS[rng.integers(len(COLOURS))]
            return f"is it {guess}?", "yes" if guess == colour else "no"
        case _:
            guess = place if rng.random() < 0.5 else PLACES[rng.integers(len(PLACES))]
            return f"is it {WHERE[guess]}?", "yes" if guess == place else "no"


def _spoken_digit(task: str, seed: int, index: int, medium: _Medium) -> Record:
    speech = _speech(seed, index, VOICES, (DIGITS[medium.facts["digit"]],))
    first, second = (medium, speech) if task == "image→speech" else (speech, medium)
    return Record((given(first.kind, first.data), made(second.kind, second.data)), task, {**medium.facts, **speech.facts})


def _text(seed: int, index: int) -> str:
    """One text of the task whose turn it is, without the picture, the sound or the video that it belongs to."""
    rng = generator(seed, index, "text for the tokenizer")
    task = TASKS[index % len(TASKS)]
    digit, colour, place = int(rng.integers(10)), COLOURS[rng.integers(len(COLOURS))], PLACES[rng.integers(len(PLACES))]
    if task == "text":
        return " ".join(segment.data for segment in text.story(seed, index).segments)
    if task == "question about image":
        # The answer is a text of its own, as it is in the record: it begins without a space.
        return _question(rng, {"digit": digit, "colour": colour, "place": place})[int(rng.integers(2))]
    if "image" in task:
        return caption(digit, colour, place)
    if "speech" in task:
        word = WORDS[rng.integers(len(WORDS))]
        return word if task == "speech→text" else f"{VOICES[rng.integers(len(VOICES))].name} says {word}"
    family = int(rng.integers(len(FAMILIES) + 1))
    return FAMILIES[family] if family < len(FAMILIES) else video.moving_caption(digit, DIRECTIONS[rng.integers(len(DIRECTIONS))])
