"""Draws and packs the examples of a training step's rows, each a function of (seed, step, row) alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ernest.config.tables import SequenceConfig
from ernest.data.drawn import Examples
from ernest.data.examples import EncodedSegment
from ernest.data.layout import PackedExample, count_positions, lay_out_segments, tokenise_segments
from ernest.sequence.groups import Tokens
from ernest.sequence.packing import fill_row
from ernest.tokenizers.bundle import Tokenizers

PATIENCE = 10_000
"""Examples in a row that may be too long for a row."""


def plan(
    store: Examples,
    weights: Mapping[str, float],
    tokenizers: Tokenizers,
    config: SequenceConfig,
    seed: int,
    step: int,
    rank: int = 0,
    world: int = 1,
) -> list[list[PackedExample]]:
    """The rows of a step that are those of process `rank` of `world`: every `world`-th."""
    return [row(store, weights, tokenizers, config, seed, step, index) for index in range(rank, config.rows, world)]


def row(
    store: Examples,
    weights: Mapping[str, float],
    tokenizers: Tokenizers,
    config: SequenceConfig,
    seed: int,
    step: int,
    row: int,
) -> list[PackedExample]:
    """One row of a step: a function of (seed, step, row), whichever process makes the other rows.

    A row of its own would rarely have room for a long example: it would take short ones more often than their weight says. So
    each row is the second of two that are packed one after the other, and begins with what the first held over.
    """
    draws = _draws(store, weights, tokenizers, config, np.random.default_rng((seed, step, 0, row)))
    length = lambda drawn: drawn.length
    _, leftover = fill_row(draws, length, config.length)
    placed, _ = fill_row(draws, length, config.length, leftover)
    return [lay_out_segments(store.taken(drawn.index, drawn.versions), drawn.segments, tokenizers) for drawn in placed]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The number of an example, which version of each segment that is no text, all as tokens, and their positions. Three of four
    are not placed in the row, and need neither a layout nor to be encoded."""

    index: int
    versions: tuple[int, ...]
    segments: tuple[tuple[Tokens, bool], ...]
    length: int


def _draws(
    store: Examples,
    weights: Mapping[str, float],
    tokenizers: Tokenizers,
    config: SequenceConfig,
    rng: np.random.Generator,
) -> Iterator[_Drawn]:
    """Examples without end: a task is drawn by its weight, an example evenly among the task's. Where rows are yet to grow, one
    that is longer waits for them, and another is drawn, maybe of another task.

    Raises ValueError where all seem to be longer.
    """
    tasks = [task for task in weights if weights[task] > 0 and task in store.tasks]
    share = np.array([weights[task] for task in tasks])
    bounds = (share / share.sum()).cumsum()
    bounds /= bounds[-1]  # as rng.choice(p=) has them, which would check and sum the shares at every draw
    waiting = 0
    while waiting < PATIENCE:
        indices = store.tasks[tasks[bounds.searchsorted(rng.random(), side="right")]]
        index = int(indices[rng.integers(len(indices))])
        example = store.glance(index)
        makes_media = any(segment.made and segment.form != "text" for segment in example.segments)
        drop_condition = bool(rng.random() < config.condition_dropout) and makes_media
        cut = lambda text: tokenizers.text.encode(text, config.bpe_dropout, rng)
        versions = draw_versions(example.segments, rng)
        segments = tokenise_segments(example.version(versions).segments, tokenizers, cut, drop_condition)
        length = count_positions(segments, tokenizers)
        if length > config.length:  # cut finely by dropout, or heard slowly, an example that just fits a row may not
            versions = tuple(n if one.form == "text" else 0 for n, one in zip(versions, example.segments, strict=True))
            segments = tokenise_segments(example.version(versions).segments, tokenizers, tokenizers.text.encode, drop_condition)
            length = count_positions(segments, tokenizers)
        waiting = waiting + 1 if length > config.length and config.grows_to else 0
        if not waiting:
            sounds = tuple(0 if one.form == "text" else n for n, one in zip(versions, example.segments, strict=True))
            yield _Drawn(index, sounds, segments, length)
    raise ValueError(f"sequence.length = {config.length}: no example of the mixture seems to fit a row before rows grow")


def draw_versions(segments: Sequence[EncodedSegment], rng: np.random.Generator) -> tuple[int, ...]:
    """Which version of each segment; nothing is drawn for those that have but one."""
    return tuple(int(rng.integers(1 + len(segment.others))) if segment.others else 0 for segment in segments)
