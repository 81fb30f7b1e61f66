"""Make long texts whose far past helps: who has what is told at the first mention of a name, and again at every later one.

Names come back at random, so that a reader who remembers all he was told is surprised less and less, and one who remembers the
last few sentences is not: `surprises` says by how much, exactly. They are no task of the world's mixture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ernest.sequence.record import Record, made
from ernest.world.images import COLOURS, DIGITS, PLACES
from ernest.world.speech import VOICES
from ernest.world.split import generator

NAMES = tuple(voice.name for voice in VOICES)
THINGS = len(COLOURS) * len(DIGITS) * len(PLACES)
TASK = "chronicle"


@dataclass(frozen=True)
class Mention:
    """A sentence on `name`, who has `thing`; `before` is the number of the last sentence that said so, -1 at the first."""

    name: str
    thing: str
    before: int

    def __str__(self) -> str:
        return f"{self.name} has {self.thing}."


def mentions(seed: int, index: int, sentences: int) -> list[Mention]:
    """So many sentences of the text `index`: names are drawn evenly, things at the first mention of a name."""
    rng, last, things, found = generator(seed, index, TASK), {}, {}, []
    for number in range(sentences):
        name = NAMES[rng.integers(len(NAMES))]
        if name not in things:
            colour, digit, place = (tuple(each)[rng.integers(len(each))] for each in (COLOURS, DIGITS, PLACES))
            things[name] = f"a {colour} {digit} {'in the' if place == 'centre' else 'at the'} {place}"
        found.append(Mention(name, things[name], last.get(name, -1)))
        last[name] = number
    return found


def chronicle(seed: int, index: int, sentences: int) -> Record:
    """The text `index` as a record of its own task; `facts` hold its `sentences`."""
    text = " ".join(map(str, mentions(seed, index, sentences)))
    return Record((made("text", text),), TASK, {"sentences": sentences})


def surprises(told: Sequence[Mention], remembered: Sequence[int]) -> list[float]:
    """Nats that each sentence is worth to a reader who knows the world, and of the text the sentences from `remembered` on: ln of
    the names and, where the last mention is forgotten or there is none, of the things."""
    return [
        math.log(len(NAMES)) + (math.log(THINGS) if one.before < since else 0.0)
        for one, since in zip(told, remembered, strict=True)
    ]
