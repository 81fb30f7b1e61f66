"""Which prompts run, when there are enough, and which of them are trained: U-RB (ERNIE 5.0 §4.1) and the orders that others use.

Prompts are numbered in the order in which they are asked. An update takes `batch` of them; `ahead` updates' worth may be under
way. A phase fills the spare places of the sampler with later prompts, ends when the policy has what it trains, and cuts the rest.

| order | trained | what is cut |
|---|---|---|
| synchronous | the next prompts, all of them; no other runs | - |
| finish order (APRIL, slime) | those that end first | goes on |
| drop and refill (verl) | those that end first | is lost; new prompts take its place |
| windowed (NeMo-RL, TitanRL) | those that end first, but none waits longer than `ahead` updates | goes on |
| in order (NeMo-RL) | the next prompts | begins anew |
| U-RB | the next prompts | goes on, under newer weights |
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ernest.config.rl import Order


@dataclass(frozen=True)
class Policy:
    """`in_order` trains the prompts whose turn it is, whatever has ended; `cut` says what becomes of what has not; `patient`
    trains no prompt before one that has waited for `ahead` updates."""

    in_order: bool
    cut: Literal["resume", "restart", "drop"]
    patient: bool = False


POLICIES: dict[Order, Policy] = {
    "synchronous": Policy(in_order=True, cut="restart"),
    "finish order": Policy(in_order=False, cut="resume"),
    "drop and refill": Policy(in_order=False, cut="drop"),
    "windowed": Policy(in_order=False, cut="resume", patient=True),
    "in order": Policy(in_order=True, cut="restart"),
    "U-RB": Policy(in_order=True, cut="resume"),
}


@dataclass
class RolloutBuffer:
    """The prompts under way, by number: `open` ones run, `ended` ones wait for their turn, in the order in which they ended."""

    order: Order
    batch: int
    ahead: int = 1
    open: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    asked: int = 0
    """Prompts that have been asked so far; the number of the next one."""
    updates: int = 0
    dropped: int = 0
    turns: dict[int, int] = field(default_factory=dict)
    """Of each prompt under way, the update before which it was asked."""

    @property
    def policy(self) -> Policy:
        return POLICIES[self.order]

    def fill(self) -> list[int]:
        """Takes in the next prompts for which there is room; those that are to run now, in order."""
        while len(self.open) + len(self.ended) < self.batch * self.ahead:
            self.turns[self.asked] = self.updates
            self.open.append(self.asked)
            self.asked += 1
        return list(self.open)

    def has_enough(self, ended: Collection[int]) -> bool:
        """Whether an update can be made of what had ended before and what has `ended` now."""
        there = {*self.ended, *ended}
        return len(there) >= self.batch and self._owed() <= there

    def take(self, ended: Sequence[int]) -> list[int]:
        """The prompts of the next update, once those `ended`, in that order, are enough; cuts what still runs."""
        self.ended += [number for number in ended if number in self.open]
        self.open = [number for number in self.open if number not in self.ended]
        owed = self._owed()
        chosen = (
            sorted(owed) if self.policy.in_order else [*sorted(owed), *(n for n in self.ended if n not in owed)][: self.batch]
        )
        self.ended = [number for number in self.ended if number not in chosen]
        self.updates += 1
        if self.policy.cut == "drop":
            self.dropped += len(self.open)
            self.open = []
        self.turns = {number: self.turns[number] for number in (*self.open, *self.ended)}
        return chosen

    def _owed(self) -> set[int]:
        """What the next update cannot do without."""
        under_way = sorted([*self.open, *self.ended])
        if self.policy.in_order:
            return set(under_way[: self.batch])
        if self.policy.patient:
            return set([n for n in under_way if self.updates - self.turns[n] >= self.ahead - 1][: self.batch])
        return set()
