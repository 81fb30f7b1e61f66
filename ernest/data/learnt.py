"""What a run learns, read from its examples: directions between kinds, words, and the length of a document."""

from collections.abc import Mapping, Sequence

from ernest.checkpoint import Learnt
from ernest.data.drawn import Examples
from ernest.data.examples import EncodedSegment
from ernest.sequence.record import Kind
from ernest.tokenizers.text import split_words


def what_is_learnt(store: Examples, weights: Mapping[str, float], length: int) -> Learnt:
    """Of the tasks that weigh something, in documents of at most `length` positions."""
    directions: dict[str, None] = {}
    words: set[str] = set()
    for task, indices in store.tasks.items():
        for index in indices if weights[task] > 0 else ():
            given: list[Kind] = []
            for segment in store.glance(int(index)).segments:
                kind = kind_of(segment)
                if segment.made:
                    directions[direction(given, kind)] = None
                given.append(kind)
                if kind == "text":
                    words |= set().union(*map(words_of, segment.versions))
    return Learnt(tuple(directions), tuple(sorted(words)), length)


def kind_of(segment: EncodedSegment) -> Kind:
    """The kind of a segment, whatever its form."""
    if segment.form == "text":
        return "text"
    return "audio" if segment.form in ("codes", "voice") else "video" if segment.video else "image"


def direction(given: Sequence[Kind], made: Kind) -> str:
    """The name of a direction, such as image+text→text."""
    return f"{'+'.join(sorted(set(given)))}→{made}"


def words_of(text: str) -> set[str]:
    """Words of letters, as training and prompts are compared by them: whatever their case."""
    return {word.strip().casefold() for word in split_words(text) if word.strip().isalpha()}
