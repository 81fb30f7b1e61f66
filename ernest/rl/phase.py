"""One phase of rollouts as a value: what is asked, by which weights, and when there is enough; and what a run makes of its end.

A phase is cut where its own rollouts suffice, which depends on no clock: whoever runs it makes the same of it, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ernest.config.rl import RLRecipe
from ernest.generation.engine import Engine
from ernest.model.network import Ernest
from ernest.rl.buffer import RolloutBuffer
from ernest.rl.rollout import Ask, Key, Response, run_rollouts
from ernest.rl.state import RunState
from ernest.tokenizers.bundle import Tokenizers


@dataclass(frozen=True, eq=False)
class Phase:
    """What a sampler is asked for: rollouts `asked`, in that order, beside those that are `there`, by weights of a `version`,
    until the `buffer` has enough prompts all of whose `samples` have ended. `rows` run at once, in half precision with `bf16`.
    """

    seed: int
    version: int
    asked: Mapping[Key, Response]
    there: frozenset[Key]
    buffer: RolloutBuffer
    samples: int
    rows: int
    bf16: bool

    def whole(self, ended: Sequence[Key]) -> list[int]:
        """Prompts all of whose samples have ended, in the order of the last."""
        numbers = self.buffer.open
        left = {number: self.samples - sum((number, s) in self.there for s in range(self.samples)) for number in numbers}
        found = [number for number in numbers if not left[number]]
        for number, _ in ended:
            left[number] -= 1
            if not left[number]:
                found.append(number)
        return found

    def suffices(self, ended: Sequence[Key]) -> bool:
        """Whether an update can be made, once those have `ended`."""
        return self.buffer.has_enough(self.whole(ended))


def run_phase(phase: Phase, model: Ernest, tokenizers: Tokenizers) -> dict[Key, Response]:
    """What was asked, those that have ended first, in the order of their ends."""
    engine = Engine(model, tokenizers, bf16=phase.bf16, rows=phase.rows)
    return run_rollouts(engine, phase.asked, phase.seed, phase.version, phase.suffices)


def open_phase(
    state: RunState, recipe: RLRecipe, version: int, ask: Callable[[int, int], Ask], hint: Callable[[int], int]
) -> Phase:
    """The next phase of a run: takes new prompts in, of which `hint` says how many groups of the true answer they are given, and
    `ask` what they ask for then."""
    rollout = recipe.rollout
    numbers = state.buffer.fill()
    keys = [(number, sample) for number in numbers for sample in range(rollout.samples)]
    for number in numbers if recipe.hints.share else ():
        if number not in state.hints:
            state.hints[number] = hint(number)
    for key in keys:
        state.rollouts.setdefault(key, Response(ask(key[0], state.hints.get(key[0], 0)), ()))
    there = frozenset(key for key in keys if state.rollouts[key].end is not None)
    asked = {key: state.rollouts[key] for key in keys if key not in there}
    rows = rollout.rows or rollout.prompts * rollout.samples * rollout.ahead
    return Phase(recipe.seed, version, asked, there, state.buffer, rollout.samples, rows, rollout.bf16)


def close_phase(state: RunState, phase: Phase, found: Mapping[Key, Response]) -> None:
    """Takes the next update's rollouts out of the buffer, in its order, once a phase has `found` what it was asked for."""
    buffer = state.buffer
    rollouts = {**state.rollouts, **found}
    chosen = buffer.take(phase.whole([key for key, response in found.items() if response.end is not None]))
    state.taken = {(number, s): rollouts[number, s] for number in chosen for s in range(phase.samples)}
    state.rollouts = {key: response for key, response in rollouts.items() if _stays(key, response, buffer)}
    state.hints = {number: hint for number, hint in state.hints.items() if number in buffer.turns or number in chosen}


def _stays(key: Key, response: Response, buffer: RolloutBuffer) -> bool:
    if key[0] in buffer.ended:
        return True
    return key[0] in buffer.open and (buffer.policy.cut == "resume" or response.end is not None)
