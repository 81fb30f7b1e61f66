"""Make long texts whose far past helps: everyone's number is told at the first mention of a name, and again at every later one.

Half of the names are one of the last three again, the others any: so the same is asked of a reader at every place, and one who
remembers all he was told is surprised less and less. `surprises` says by how much, exactly. They are no task of the mixture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ernest.sequence.record import Record, made
from ernest.world.questions import NUMBERS
from ernest.world.speech import VOICES
from ernest.world.split import generator

NAMES = tuple(voice.name for voice in VOICES)
TASK = "chronicle"
RECENT, AGAIN = 3, 0.5
"""So many names may come again, and how often they do."""


@dataclass(frozen=True)
class Mention:
    """`name` with its `number`; `before` is the place of its last mention, -1 at the first, `chance` that of the name where it
    stands."""

    name: str
    number: str
    before: int
    chance: float

    def __str__(self) -> str:
        return f"{self.name} {self.number},"


def mentions(seed: int, index: int, count: int) -> list[Mention]:
    """So many mentions of the text `index`: a number is drawn at the first one of a name."""
    rng, last, numbers, found = generator(seed, index, TASK), {}, {}, []
    for place in range(count):
        recent = sorted(last, key=lambda name: last[name])[-RECENT:]
        again = bool(recent) and rng.random() < AGAIN
        names = recent if again else NAMES
        name = names[rng.integers(len(names))]
        numbers.setdefault(name, NUMBERS[rng.integers(len(NUMBERS))])
        chance = AGAIN * (name in recent) / len(recent) + (1 - AGAIN) / len(NAMES) if recent else 1 / len(NAMES)
        found.append(Mention(name, numbers[name], last.get(name, -1), chance))
        last[name] = place
    return found


def chronicle(seed: int, index: int, count: int) -> Record:
    """The text `index` as a record of its own task; `facts` hold its `mentions`."""
    text = " ".join(map(str, mentions(seed, index, count)))
    return Record((made("text", text),), TASK, {"mentions": count})


def surprises(told: Sequence[Mention], remembered: Sequence[int]) -> list[float]:
    """Nats that each mention is worth to a reader who knows this world, and of the text the mentions from `remembered` on: those
    of the name and, where its last mention is forgotten or there is none, of the number."""
    numbers = math.log(len(NUMBERS))
    return [-math.log(one.chance) + numbers * (one.before < since or one.before < 0)
            for one, since in zip(told, remembered, strict=True)]  # fmt: skip
