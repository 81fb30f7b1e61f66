"""Hints for prompts that no answer passes (AHRL, ERNIE 5.0 §4.3): the first part of the true answer is given, ever less of it.

A prompt that comes up for the first time is answered without a hint. Where none of its k answers passes, it is hard, and its next
turn begins with a share of the true answer's groups, which nobody is rewarded for:

    p = share * exp(-decay * sum over its turns of max(passed, floor))

With a constant pass rate this is eq. 5. Without the floor a prompt that never passes would keep its hint for ever. One that
passes without a hint is hard no longer.
"""

import math
from collections.abc import Mapping, MutableMapping, Sequence

from ernest.config.rl import HintConfig, RLRecipe, TaskConfig
from ernest.rl.tasks import TASKS
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers


def check_hints(recipe: RLRecipe) -> None:
    """Raises ValueError where hints are asked for and no task can have them: a true answer is known to those that make texts."""
    if not recipe.hints.share:
        return
    if not any(map(can_be_hinted, recipe.tasks)):
        raise ValueError("hints.share: prompts must come up again and have true answers: give a task that makes texts a pool")


def can_be_hinted(config: TaskConfig) -> bool:
    """Whether the prompts of a task come up again, and have true answers in words."""
    return config.pool > 0 and TASKS[config.task].kind == "text"


def hint_share(hard: Mapping[str, float], name: str, config: HintConfig) -> float:
    """p of the prompt `name`; `hard` holds the sum of the exponent of each prompt that is hard."""
    return config.share * math.exp(-config.decay * hard[name]) if name in hard else 0.0


def note_turn(hard: MutableMapping[str, float], name: str, hinted: bool, passed: Sequence[bool], config: HintConfig) -> None:
    """What a turn of the prompt `name`, whose answers `passed` or not, changes of its next hint."""
    if not passed:
        return
    rate = sum(passed) / len(passed)
    if rate and not hinted:
        hard.pop(name, None)
    elif name in hard:
        hard[name] += max(rate, config.floor)
    elif not rate:
        hard[name] = 0.0


def true_groups(prompt: Record, tokenizers: Tokenizers) -> tuple[int, ...]:
    """The groups of the true answer of a prompt: its tokens."""
    (answer,) = (segment.data for segment in prompt.segments if segment.made)
    return tuple(tokenizers.text.encode(answer))


def hint_length(share: float, groups: int, most: int) -> int:
    """How many of the `groups` of a true answer are given: a share of them, rounded down, never all, and fewer than the `most`
    that an answer may have."""
    return min(int(share * groups), groups - 1, most - 1)
