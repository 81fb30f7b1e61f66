"""Text tokens: byte-pair encoding over UTF-16BE bytes, with dropout (ERNIE 5.0 §3.1).

UTF-16 spends two bytes on every common character of every script, so no script is charged three where
another pays one, and a character that was never seen in training falls back to two or four byte tokens.
Ids are laid out as control tokens, then the 256 byte values, then one id for every merged byte string.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np

from ernest.storage import write_text

CONTROLS = ("pad", "null", "eos", "boi", "eoi", "bov", "eov", "boa", "sep", "cont")
FIRST_BYTE = len(CONTROLS)
FORMAT = "BPE over UTF-16BE bytes"

# A word is cut after 24 characters: merging takes time quadratic in its length, and scripts without spaces have no end.
_LONGEST_WORD = 24
_MARKS = r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u2027\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"
_WORDS = re.compile(rf" ?[^\s\d{_MARKS}]{{1,{_LONGEST_WORD}}}| ?\d| ?[{_MARKS}]{{1,{_LONGEST_WORD}}}|\s")
# Thai, Lao, Burmese, Khmer, kana and Han (with the planes of rare characters): scripts that are written without spaces.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+")
_CACHED_WORDS = _CACHED_CHOICES = 1 << 16
_LETTERS = 0x4E00


def four_at_most(phrase: str) -> list[str]:
    """The word segmenter for scripts without spaces that needs no dictionary: few of their words pass four characters."""
    return [phrase[start : start + 4] for start in range(0, len(phrase), 4)]


class TextTokenizer:
    """Byte-pair encoding with the control tokens of the sequence.

    `merges` holds pairs of ids in the order they were learnt; a pair's byte strings, joined, are a new token.
    `pieces[id]` is the byte string of a token (empty for control tokens). The control ids are attributes:
    `pad, null, eos, boi, eoi, bov, eov, boa, sep, cont`. Raises ValueError for a merge of unknown ids.
    """

    pad, null, eos, boi, eoi, bov, eov, boa, sep, cont = range(FIRST_BYTE)

    def __init__(self, merges: Iterable[tuple[int, int]] = ()) -> None:
        self.merges = tuple((int(left), int(right)) for left, right in merges)
        pieces = [b""] * FIRST_BYTE + [bytes([value]) for value in range(256)]
        ids = {piece: number for number, piece in enumerate(pieces) if piece}
        self._rank: dict[tuple[int, int], int] = {}
        self._merged: list[int] = []
        for rank, pair in enumerate(self.merges):
            if not all(FIRST_BYTE <= part < len(pieces) for part in pair):
                raise ValueError(f"merge {rank}: {list(pair)} names an id that is no byte and no earlier merge")
            piece = pieces[pair[0]] + pieces[pair[1]]
            # Two different merges may spell one byte string; they share its id.
            if piece not in ids:
                ids[piece] = len(pieces)
                pieces.append(piece)
            self._rank.setdefault(pair, rank)
            self._merged.append(ids[piece])
        self.pieces = tuple(pieces)
        self._cache: dict[str, tuple[int, ...]] = {}
        self._words: dict[str, _Choice | tuple[int, ...]] = {}
        self._known: dict[tuple[tuple[int, ...], int, int], _Choice | tuple[int, ...]] = {}

    @property
    def vocab_size(self) -> int:
        """The number of ids: bytes, merges and control tokens."""
        return len(self.pieces)

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, segment: Callable[[str], Sequence[str]] = four_at_most
    ) -> "TextTokenizer":
        """Learn merges from `texts` until there are `vocab_size` ids (fewer if the texts hold no more pairs).

        In scripts without spaces, tokens that the word segmenter `segment` can split are left out (ERNIE 5.0 §3.1).
        Raises ValueError if `vocab_size` has no room for the control tokens and the bytes.
        """
        smallest = FIRST_BYTE + 256
        if vocab_size < smallest:
            raise ValueError(f"vocab_size {vocab_size} is too small: control tokens and bytes take {smallest} ids")
        ids = {bytes([value]): FIRST_BYTE + value for value in range(256)}
        merges = []
        # Twice the budget is learnt, so that what is left out can be made up for.
        for left, right, offset in _learn_merges(texts, 2 * (vocab_size - smallest)):
            if FIRST_BYTE + len(ids) >= vocab_size:
                break
            if left not in ids or right not in ids or _is_phrase(left + right, offset, segment):
                continue
            merges.append((ids[left], ids[right]))
            ids.setdefault(left + right, FIRST_BYTE + len(ids))
        return cls(merges)

    def encode(self, text: str, dropout: float = 0.0, rng: "np.random.Generator | None" = None) -> list[int]:
        """Ids of `text`, without control tokens.

        With `dropout`, every possible merge is refused with that probability each time it could be made
        (Provilkov et al. 2020), by draws from `rng`. Raises ValueError for a text that is not Unicode
        (half a surrogate pair), for a dropout outside [0, 1], and for dropout without `rng`.
        """
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"dropout must lie in [0, 1], got {dropout}")
        if dropout and rng is None:
            raise ValueError("dropout draws at random: give rng, a numpy.random.Generator")
        ids: list[int] = []
        if rng is not None and dropout:
            chances = _Chances(rng, dropout)
            for word in split_words(text):
                ids += self._merge(word, chances.until_refused)
            return ids
        for word in split_words(text):
            known = self._cache.get(word)
            if known is None:
                if len(self._cache) >= _CACHED_WORDS:
                    self._cache.clear()
                known = self._cache[word] = self._merge(word, lambda most: most)
            ids += known
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, without the control tokens.

        Bytes that are no UTF-16 (a model may make any) become U+FFFD. Raises ValueError for an id outside the vocabulary.
        """
        numbers = [int(number) for number in ids]
        for number in numbers:
            if not 0 <= number < self.vocab_size:
                raise ValueError(f"id {number} is outside the vocabulary of {self.vocab_size}")
        return b"".join(self.pieces[number] for number in numbers).decode("utf-16-be", errors="replace")

    def save(self, path: Path | str) -> None:
        """Writes the merges as JSON."""
        write_text(path, json.dumps({"format": FORMAT, "controls": CONTROLS, "merges": self.merges}))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote. Raises ValueError, naming the file, for anything else."""
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            if stored["format"] != FORMAT or tuple(stored["controls"]) != CONTROLS:
                raise ValueError(f"format {stored['format']!r} with controls {stored['controls']}")
            return cls(stored["merges"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is not a text tokenizer, or damaged: {error}") from error

    def _merge(self, word: str, until_refused: Callable[[int], int]) -> tuple[int, ...]:
        """Merge the bytes of one word, the earliest learnt pair first, until no pair is left or all are refused:
        `until_refused(n)` says how many of the next n possible merges are made before one is refused, n where none is."""
        at = self._words.get(word)
        if at is None:
            if len(self._known) >= _CACHED_CHOICES:
                self._words.clear()
                self._known.clear()
            at = self._words[word] = self.next_choice(tuple(FIRST_BYTE + value for value in _to_bytes(word)))
        while isinstance(at, _Choice):
            run = at.run or at.make_all(self)
            made = until_refused(len(run) - 1)
            if made == len(run) - 1:
                return run[-1]
            at = run[made].follow(0, self)
        return at

    def next_choice(self, parts: tuple[int, ...], start: int = 0, where: int = -1) -> "_Choice | tuple[int, ...]":
        """The next merge of `parts` that a chance decides, from pair `start` on, where pair `where` is chosen so far; or the
        parts, where none is left. Many ways of merging lead there, so what was worked out is kept."""
        known = self._known.get((parts, start, where))
        if known is None:
            known = self._known[parts, start, where] = self._work_out(parts, start, where)
        return known

    def _work_out(self, parts: tuple[int, ...], start: int, where: int) -> "_Choice | tuple[int, ...]":
        ranks = self._ranks(parts)
        limit = ranks[where] if where >= 0 else len(self._merged)
        for pair in range(start, len(ranks)):
            if 0 <= ranks[pair] < limit:
                return _Choice(parts, pair, where)
        if where < 0:
            return parts
        return self.next_choice((*parts[:where], self._merged[limit], *parts[where + 2 :]))

    def _ranks(self, parts: Sequence[int]) -> tuple[int, ...]:
        """The rank of the merge of each pair of neighbours, -1 where there is none."""
        return tuple(self._rank.get(pair, -1) for pair in pairwise(parts))


class _Choice(list["_Choice | tuple[int, ...] | None"]):
    """A point in the merging of a word at which a merge is refused or made; the two items are what comes then, worked out once:
    few words make up a text, and few of their ways of being cut come often."""

    __slots__ = ("pair", "parts", "run", "where")

    def __init__(self, parts: tuple[int, ...], pair: int, where: int) -> None:
        super().__init__((None, None))
        self.parts, self.pair, self.where = parts, pair, where
        self.run: tuple[Any, ...] = ()

    def follow(self, taken: int, tokenizer: TextTokenizer) -> "_Choice | tuple[int, ...]":
        """What comes when the merge of `pair` is made, or refused."""
        known = self[taken]
        if known is None:
            known = self[taken] = tokenizer.next_choice(self.parts, self.pair + 1, self.pair if taken else self.where)
        return known

    def make_all(self, tokenizer: TextTokenizer) -> tuple[Any, ...]:
        """The choices from this one on, while merges are made, and the parts that are left then. One refusal in ten leaves few
        places at which a walk has to stop."""
        run: list[_Choice | tuple[int, ...]] = [self]
        while isinstance(at := run[-1], _Choice):
            run.append(at.follow(1, tokenizer))
        self.run = tuple(run)
        return self.run


def is_unspaced(phrase: str) -> bool:
    """Whether a phrase is wholly of scripts that are written without spaces."""
    return _UNSPACED.fullmatch(phrase) is not None


def split_words(text: str) -> list[str]:
    """Words with their leading space, single digits and runs of punctuation; joined they are `text` again."""
    return _WORDS.findall(text)


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError as error:
        raise ValueError(f"the text is not Unicode: half a surrogate pair at character {error.start} of {text!r}") from error


class _Chances:
    """Whether one merge after the other is made: each is refused with the probability `dropout`. Drawn in blocks: one call of
    numpy for each would cost more than the merging."""

    def __init__(self, rng: "np.random.Generator", dropout: float) -> None:
        self.rng, self.dropout = rng, dropout
        self.block, self.at = b"", 0

    def until_refused(self, most: int) -> int:
        """How many of the next `most` merges are made before one is refused, `most` where none is."""
        refused = self.block.find(0, self.at, self.at + most)
        if refused >= 0:
            made, self.at = refused - self.at, refused + 1
            return made
        if self.at + most <= len(self.block):
            self.at += most
            return most
        made = len(self.block) - self.at
        self.block, self.at = (self.rng.random(512) >= self.dropout).tobytes(), 0
        return made + self.until_refused(most - made)


def _learn_merges(texts: Iterable[str], count: int) -> list[tuple[bytes, bytes, int]]:
    """Pairs of byte strings in the order of their frequency, and whether each begins inside a character (0 or 1).

    The `tokenizers` library learns them. It works on characters, so every byte is shown to it as one letter,
    with one alphabet for the first bytes of UTF-16 units and one for the second; every word is a text of its own.
    """
    from tokenizers import Tokenizer, models, trainers

    letters = [chr(_LETTERS + number) for number in range(512)]
    words = (
        "".join(letters[value + 256 * (index % 2)] for index, value in enumerate(_to_bytes(word)))
        for text in texts
        for word in split_words(text)
    )
    library = Tokenizer(models.BPE())
    library.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=512 + count, min_frequency=2, initial_alphabet=letters, show_progress=False)
    )
    pairs = json.loads(library.to_str())["model"]["merges"]
    return [(_spelled(left), _spelled(right), (ord(left[0]) - _LETTERS) // 256) for left, right in pairs]


def _spelled(letters: str) -> bytes:
    return bytes((ord(letter) - _LETTERS) % 256 for letter in letters)


def _is_phrase(piece: bytes, offset: int, segment: Callable[[str], Sequence[str]]) -> bool:
    """Whether the whole characters of the token are a phrase, in a script without spaces, that the segmenter splits."""
    characters = piece[offset : len(piece) - (len(piece) - offset) % 2]
    text = characters.decode("utf-16-be", errors="replace").strip()
    return is_unspaced(text) and len(segment(text)) > 1
