"""The prompts of a run by their numbers: the task and the record of each, its name when it comes up again, and what it asks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from ernest.config.rl import RLRecipe
from ernest.model.submodel import SubModel
from ernest.rl.hints import can_be_hinted, hint_length, hint_share, true_groups
from ernest.rl.rollout import Ask
from ernest.rl.tasks import Trained, task_of
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers
from ernest.verifiers.verdict import given_text

KEPT = 4096
"""So many prompts, and what was asked with them, are kept: those of several updates."""


class Prompts:
    """Prompts, each a function of its number and the recipe's seed. The sub-model `sampler` answers, and `trained` learns."""

    def __init__(
        self,
        recipe: RLRecipe,
        tasks: Sequence[Trained],
        tokenizers: Tokenizers,
        trained: SubModel | None,
        sampler: SubModel | None,
    ) -> None:
        self.recipe, self.tasks, self.tokenizers = recipe, tasks, tokenizers
        self.trained, self.sampler = trained, sampler
        self._made = lru_cache(maxsize=KEPT)(self._make)
        self.ask = lru_cache(maxsize=KEPT)(self._ask)

    def __getitem__(self, number: int) -> tuple[Trained, Record]:
        return self._made(number)

    def name(self, number: int) -> str:
        """Of a prompt that may come up again: its number in the pool, or its words."""
        task, prompt = self[number]
        return f"{task.name}: {number % task.config.pool if task.config.pool else given_text(prompt)}"

    def hint(self, number: int, hard: Mapping[str, float]) -> int:
        """How many groups of its true answer a prompt is given that is asked now, where so much is known of those that are
        `hard`."""
        task, prompt = self[number]
        share = hint_share(hard, self.name(number), self.recipe.hints)
        if not share or not can_be_hinted(task.config):
            return 0
        return hint_length(share, len(true_groups(prompt, self.tokenizers)), self.tokenizers.media.longest_text)

    def _make(self, number: int) -> tuple[Trained, Record]:
        task = task_of(self.tasks, self.recipe.seed, number, number // self.recipe.rollout.prompts)
        return task, task.task.record(self.recipe.seed, number % task.config.pool if task.config.pool else number)

    def _ask(self, number: int, hinted: int) -> Ask:
        """What a prompt asks of the sampler, with so many groups of its true answer."""
        task, prompt = self[number]
        hint = true_groups(prompt, self.tokenizers)[:hinted] if hinted else ()
        return replace(task.ask(prompt, self.tokenizers), submodel=self.trained, sampler=self.sampler, hint=hint)
