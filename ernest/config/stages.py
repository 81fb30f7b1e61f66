"""The two stages of a run: rows grow in number early in the first, and in length in the second, in which the rate falls
(ERNIE 5.0 §3.2)."""

from collections import Counter
from dataclasses import dataclass, replace

from ernest.config.recipe import Recipe
from ernest.config.tables import SequenceConfig

FIRST_ROWS = 4
"""A ramp begins with one of so many rows; the report's, with 14 of 56 million tokens."""


@dataclass(frozen=True)
class Part:
    """The steps from `begin` to before `end` of a run, in stage 1 or 2, and the rows that they read."""

    stage: int
    begin: int
    end: int
    sequence: SequenceConfig


def parts(recipe: Recipe) -> tuple[Part, ...]:
    """The first stage, and a part of the second for every length of its rows; none is without steps."""
    sequence, border, steps = recipe.sequence, recipe.training.border, recipe.training.steps
    found = [Part(1, 0, border, sequence)]
    lengths = max(1, len(sequence.grows_to))
    for number in range(lengths):
        sequence = sequence.grown() if sequence.grows_to else sequence
        begin, end = (border + (steps - border) * n // lengths for n in (number, number + 1))
        found.append(Part(2, begin, end, sequence))
    return tuple(part for part in found if part.begin < part.end)


def part_at(recipe: Recipe, step: int) -> Part:
    """The part that a step belongs to, with the rows of that step: of R all, R/4 + (3R/4) step / ramp."""
    part, ramp = next(part for part in parts(recipe) if step < part.end), _ramp(recipe)
    if step >= ramp:
        return part
    first, rows = _first_rows(recipe), part.sequence.rows
    return replace(part, sequence=replace(part.sequence, rows=first + (rows - first) * step // ramp))


def sequence_at(recipe: Recipe, step: int) -> SequenceConfig:
    """What a step reads."""
    return part_at(recipe, step).sequence


def steps_by_rows(recipe: Recipe) -> Counter[tuple[int, int]]:
    """How many steps read so many rows of such a length."""
    found, ramp = Counter[tuple[int, int]](), _ramp(recipe)
    for part in parts(recipe):
        found[part.sequence.rows, part.sequence.length] += part.end - max(part.begin, min(part.end, ramp))
    for step in range(ramp):
        one = sequence_at(recipe, step)
        found[one.rows, one.length] += 1
    return +found


def longest(recipe: Recipe) -> SequenceConfig:
    """What the last step reads: no rows are longer."""
    return parts(recipe)[-1].sequence


def too_long(recipe: Recipe, positions: int) -> tuple[str, str]:
    """For a message on what takes so many `positions`: which field's length that is more than, and how to have longer rows."""
    sequence, need = recipe.sequence, -(-positions // 64) * 64
    if sequence.grows_to:
        return f"the last of sequence.grows_to = {list(sequence.grows_to)}", f"let rows grow to {need}"
    return f"sequence.length = {sequence.length}", f"--set sequence.length={need}"


def fewest_rows(recipe: Recipe) -> int:
    """Of any step; as many processes can share the run."""
    return min(longest(recipe).rows, _first_rows(recipe) if _ramp(recipe) else recipe.sequence.rows)


def in_longest_rows(recipe: Recipe) -> Recipe:
    """The recipe as if all steps read what the last one does, which needs the most memory."""
    return replace(recipe, sequence=longest(recipe), training=replace(recipe.training, ramp=0))


def has_stages(recipe: Recipe) -> bool:
    """Whether rows change as a run goes on."""
    return bool(recipe.sequence.grows_to or recipe.training.ramp)


def _first_rows(recipe: Recipe) -> int:
    return max(1, recipe.sequence.rows // FIRST_ROWS)


def _ramp(recipe: Recipe) -> int:
    """Steps of a ramp: it ends with the first stage at the latest."""
    return min(recipe.training.ramp, recipe.training.border)
