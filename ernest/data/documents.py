"""Documents in which words and media alternate, as records: what is given and what is made, and where a long one is cut.

A document is read, and it is continued. Read, all its media are given and all its texts are made. Continued, for each of its
media that something stands before: that is given, and the medium and the text behind it are made. In a chat, what the
assistant says is made, and all else is given.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ernest.config.media import MediaSpec
from ernest.sequence.record import Kind, Record, Segment

NAMES: dict[str, str] = {"text": "text", "image": "image", "video": "video", "audio": "speech"}
"""What tasks call each kind."""
SLACK = 8 / 7
"""By so much a text may take more positions than are counted here: the training has a tokenizer of its own."""
_BORDERS = (
    re.compile(r"[^\n]*\n+|[^\n]+"),
    re.compile(r"""(?s).+?(?:[.!?…]["'»”’)\]]*\s+|[。！？]["'»”’」』]*\s*|\Z)"""),
    re.compile(r"\s*\S+\s*|\s+"),
)
"""Parts of a text, the larger ones first: lines, sentences, words. Joined, they are the text."""


@dataclass(frozen=True)
class Reference:
    """A medium as a document names it: by a path or an address as it stands there, or by its bytes.

    `words` stand for the medium where it cannot be shown. With `anywhere`, a path may be seen from another folder than the
    document's. Of a chat, `made` says that it is the assistant's, and `turn` numbers what is said.
    """

    source: str | bytes
    words: str = ""
    made: bool = False
    turn: int = 0
    anywhere: bool = False


@dataclass(frozen=True)
class Part:
    """A text or a medium of a document, read: `data` as in `Segment`, the rest as in `Reference`. Texts of one turn that follow
    one another are one text."""

    kind: Kind
    data: Any
    words: str = ""
    made: bool = False
    turn: int = 0


@dataclass(frozen=True)
class Document:
    """The parts of a document in reading order. `folder` is the one from which it names its media."""

    name: str
    folder: str
    parts: Sequence[Part | Reference]
    chat: bool = False

    def units(self) -> list[list[Part | Reference]]:
        """What stays together where there is room: of a chat a question and its answer, else each part alone."""
        if not self.chat:
            return [[part] for part in self.parts]
        units: list[list[Part | Reference]] = []
        for part in self.parts:
            if not units or (units[-1][-1].made and not part.made):
                units.append([])
            units[-1].append(part)
        return units


@dataclass(frozen=True)
class Room:
    """The positions of a row, and how many of them parts take; `count` gives the tokens of a text."""

    length: int
    spec: MediaSpec
    count: Callable[[str], int]

    def fits(self, parts: Sequence[Part], chat: bool) -> bool:
        """Whether each record of these parts has room."""
        return all(1 + sum(self.positions(*one) for one in roles) <= self.length for _, roles in _roles(parts, chat))

    def positions(self, part: Part, made: bool) -> int:
        """Positions of a part and of the control tokens about it."""
        match part.kind:
            case "text":
                return 1 + int(SLACK * self.count(part.data))
            case "audio":
                return self.spec.sound_positions(len(part.data) / self.spec.sample_rate)
        frames = len(part.data) if part.kind == "video" else 1
        return self.spec.made_positions(frames) if made else self.spec.given_positions(frames)


def records_of(runs: Iterable[Sequence[Sequence[Part]]], document: Document, room: Room) -> list[Record]:
    """The records of a document that has been read: of each of its `runs` of units, between which something is missing, in as
    many pieces as rows need. A piece of which nothing is made has none."""
    records = []
    for units in runs:
        for piece in _pieces(units, document.chat, room):
            for task, roles in _roles(piece, document.chat):
                segments = _segments(roles)
                if segments and any(segment.made for segment in segments):
                    records.append(Record(segments, task, {"document": document.name}))
    return records


# ------------------------------------------------------------------ what is given and what is made

_Roles = list[tuple[Part, bool]]


def _roles(parts: Sequence[Part], chat: bool) -> Iterator[tuple[str, _Roles]]:
    """The task of each record of these parts, and its parts with whether each is made.

    The words of a medium follow it where it is read, and stand before it where it is made.
    """
    if chat:
        kinds = [part.kind for part in parts if part.made]
        yield f"chat→{NAMES[next((kind for kind in kinds if kind != 'text'), 'text')]}", [(part, part.made) for part in parts]
        return
    read = [one for part in parts for one in (part, *_words(part))]
    if any(part.kind == "text" for part in read):
        yield "document→text", [(part, part.kind == "text") for part in read]
    for index, part in enumerate(parts):
        before = [one for other in parts[:index] for one in (*_words(other), other)] + _words(part)
        if part.kind != "text" and before:
            after = [(other, True) for other in _texts_at_the_start(parts[index + 1 :])]
            yield f"document→{NAMES[part.kind]}", [*((other, False) for other in before), (part, True), *after]


def _words(part: Part) -> list[Part]:
    return [Part("text", f"{part.words}\n")] if part.words else []


def _texts_at_the_start(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        if part.kind != "text":
            return
        yield part


def _segments(roles: _Roles) -> tuple[Segment, ...]:
    """Texts that follow one another within a turn are one segment."""
    segments = []
    for (kind, made, _), group in groupby(roles, lambda one: (one[0].kind, one[1], one[0].turn)):
        parts = [part for part, _ in group]
        if kind != "text":
            segments += [Segment(kind, part.data, made) for part in parts]
        elif text := "".join(part.data for part in parts).strip():
            segments.append(Segment("text", text, made))
    return tuple(segments)


# ------------------------------------------------------------------ where a document is cut


def _pieces(units: Sequence[Sequence[Part]], chat: bool, room: Room) -> Iterator[list[Part]]:
    """As many units a piece as fit, in order; what is longer than a row alone is taken apart first."""
    waiting, piece = deque(list(unit) for unit in units), []
    while waiting:
        unit = waiting.popleft()
        if room.fits(piece + unit, chat):
            piece += unit
        elif piece:
            yield piece
            piece = []
            waiting.appendleft(unit)
        else:
            waiting.extendleft(reversed(_smaller(unit)))
    if piece:
        yield piece


def _smaller(unit: list[Part]) -> list[list[Part]]:
    """A unit in smaller ones: its parts, or those of its text, or a medium and its words. Raises ValueError for one medium."""
    part = unit[0]
    if len(unit) > 1:
        return [[one] for one in unit]
    if part.words:
        return [[text] for text in _words(part)] + [[replace(part, words="")]]
    if part.kind != "text" or len(part.data) < 2:
        raise ValueError(f"a part of kind {part.kind!r} is longer than a row")
    texts = next((found for border in _BORDERS if len(found := border.findall(part.data)) > 1), None)
    half = len(part.data) // 2
    return [[replace(part, data=text)] for text in texts or (part.data[:half], part.data[half:])]
