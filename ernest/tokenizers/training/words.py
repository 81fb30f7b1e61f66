"""Turns the captions of pictures, films and sounds into what a semantic head is to say: words of any script, rare ones first.

Where captions differ in one word, that word is the class. What all captions say tells nothing apart, and is left out.
"""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ernest.tokenizers.text import is_unspaced

LONGEST_PART = 4
"""Characters of the longest part of a phrase without blanks: few words of the scripts that have none are longer."""
MOST_WORDS = 512
"""Classes of a semantic head, at most."""


def caption_words(caption: str) -> set[str]:
    """The words of a caption, whatever their case and form: runs of letters, marks and digits.

    Scripts that are written without blanks (Han, kana, Thai, Lao, Khmer, Burmese) give every run of one to `LONGEST_PART`
    characters, of which those that tell captions apart are found by counting; other signs, such as emoji, are words of their own.
    """
    words: set[str] = set()
    for run, unspaced in _runs(unicodedata.normalize("NFKC", caption).casefold()):
        if unspaced:
            lengths = range(1, LONGEST_PART + 1)
            words |= {run[start : start + length] for length in lengths for start in range(len(run) - length + 1)}
        else:
            words.add(run)
    return words


def _runs(text: str) -> list[tuple[str, bool]]:
    """Runs of characters that belong together, and whether they are of a script without blanks."""
    runs: list[tuple[str, bool]] = []
    open_run = False
    for character in text:
        category = unicodedata.category(character)
        if category == "So":  # emoji and other pictures
            runs.append((character, False))
        if category[0] not in "LMN":
            open_run = False
            continue
        unspaced = is_unspaced(character)
        if open_run and (runs[-1][1] == unspaced or category[0] == "M"):
            runs[-1] = runs[-1][0] + character, runs[-1][1]
        else:
            runs.append((character, unspaced))
        open_run = True
    return runs


@dataclass(frozen=True)
class WordTargets:
    """Words of media: medium `i` shows the words `shown[i]`, numbers of `words`, which weigh `weights` `[words]`."""

    words: tuple[str, ...]
    shown: tuple[np.ndarray, ...]
    weights: np.ndarray

    def rows(self, media: np.ndarray) -> np.ndarray:
        """The target of each of `media` int `[N]`: float32 `[N, words]`, which sums to 1, or to 0 where no word is known."""
        targets = np.zeros((len(media), len(self.words)), np.float32)
        for row, medium in zip(targets, media.tolist(), strict=True):
            shown = self.shown[medium]
            if len(shown):
                row[shown] = self.weights[shown] / self.weights[shown].sum()
        return targets


def word_targets(captions: Sequence[Iterable[str]], most: int = MOST_WORDS) -> WordTargets:
    """Targets for media of which each has some `captions`.

    A word weighs log(media / media with the word), as rare words tell more. One that too few media have teaches nothing about
    others; words that the same media have are one. Where there are more than `most`, those that tell most of all media stay.
    """
    media_with: dict[str, list[int]] = defaultdict(list)
    for medium, texts in enumerate(captions):
        for word in set().union(*map(caption_words, texts)):
            media_with[word].append(medium)
    count = len(captions)
    least = min(8, max(2, count // 100))
    alike: dict[tuple[int, ...], str] = {}
    for word, media in media_with.items():
        if least <= len(media) < count:
            key = tuple(media)
            alike[key] = max(alike.get(key, ""), word, key=lambda w: (len(w), w))
    worth = {word: len(media) * math.log(count / len(media)) for media, word in alike.items()}
    words = tuple(sorted(sorted(worth, key=lambda word: (-worth[word], word))[:most]))
    shown: list[list[int]] = [[] for _ in range(count)]
    for number, word in enumerate(words):
        for medium in media_with[word]:
            shown[medium].append(number)
    weights = [math.log(count / len(media_with[word])) for word in words]
    return WordTargets(words, tuple(np.array(numbers, np.int32) for numbers in shown), np.array(weights, np.float32))
