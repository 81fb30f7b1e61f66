"""Everything a run needs, as one tree of frozen dataclasses: defaults in its tables, differences in TOML, overrides beside."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ernest.config.media import MediaSpec
from ernest.config.parallel import NOT_BUILT, ParallelConfig
from ernest.config.sizes import sized
from ernest.config.tables import ElasticConfig, ModelConfig, SequenceConfig, TokenizerConfig, TrainingConfig, WorldConfig
from ernest.overrides import build, read_tree

NAMED = ("mixture",)
"""Tables of a recipe whose fields are names of the user's own."""


@dataclass(frozen=True)
class Recipe:
    """One run. `size` is the dial: `sized` derives the network from it, and single fields may still be set."""

    seed: int = 0
    size: int = 8
    model: ModelConfig = field(default_factory=ModelConfig)
    media: MediaSpec = field(default_factory=MediaSpec)
    elastic: ElasticConfig = field(default_factory=ElasticConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    tokenizers: TokenizerConfig = field(default_factory=TokenizerConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    mixture: dict[str, float] = field(default_factory=dict)
    """Weight of each task by name; tasks that are not named weigh 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed = {self.seed} must lie between 0 and 2^63 - 1")
        self._check_parallel()
        if self.training.adapter_rank and not self.parallel.keeps_whole:
            raise ValueError(f"training.adapter_rank: adapters are of whole matrices, and {self.parallel} deals them out")
        if self.tokenizers.first_bits:
            self._check_switch()
        if self.training.fp8 and not self.parallel.keeps_whole:
            raise ValueError(f"training.fp8: blocks are rounded of whole matrices, and {self.parallel} deals them out")
        for task, weight in self.mixture.items():
            if weight < 0:
                raise ValueError(f"mixture.{task} = {weight} must not be negative")
        self._check_stages()

    @property
    def first_steps(self) -> int:
        """The number of steps that are taken with `tokenizers.first_bits`, 0 where there is no switch."""
        few = self.tokenizers
        return round(few.first_share * self.training.steps) if few.first_bits else 0

    def _check_parallel(self) -> None:
        """Raises ValueError where a step has too few rows for the processes, or the network cannot be dealt out over them."""
        model, expert, tensor = self.model, self.parallel.expert, self.parallel.tensor
        if self.parallel.asked // tensor > self.sequence.rows:
            who = "each process takes a row" if tensor == 1 else f"each {tensor} processes take a row"
            raise ValueError(f"{self.parallel} must not exceed sequence.rows = {self.sequence.rows}: {who}")
        if model.experts % expert:
            raise ValueError(f"parallel.expert = {expert} must divide model.experts = {model.experts}")
        for name in ("heads", "kv_heads"):
            if getattr(model, name) % tensor:
                raise ValueError(f"parallel.tensor = {tensor} must divide model.{name} = {getattr(model, name)}")
        if model.expert_width % (8 * tensor):
            raise ValueError(f"parallel.tensor = {tensor} must cut model.expert_width = {model.expert_width} into multiples of 8")

    def _check_switch(self) -> None:
        """Raises ValueError where the training cannot begin with `tokenizers.first_bits` and switch to all bits on its way."""
        if not self.parallel.keeps_whole:
            raise ValueError(f"tokenizers.first_bits: what becomes wider is whole, and {self.parallel} deals it out")
        if not 0 < self.first_steps < self.training.steps:
            raise ValueError(
                f"tokenizers.first_share = {self.tokenizers.first_share}: the switch would be behind {self.first_steps} of "
                f"training.steps = {self.training.steps}, and both tokenizers need a step"
            )
        if self.training.encode == "drawn":
            raise ValueError("tokenizers.first_bits: both tokenizers encode before the training; leave training.encode out")

    def _check_stages(self) -> None:
        """Raises ValueError where rows cannot grow as `sequence.grows_to` says."""
        sequence, training = self.sequence, self.training
        positions, late = sequence.rows * sequence.length, training.steps - training.border
        for length in sequence.grows_to:
            if positions % length:
                raise ValueError(
                    f"sequence.grows_to: {length} must divide sequence.rows x sequence.length = {positions}, a step's positions"
                )
        if late < len(sequence.grows_to):
            raise ValueError(
                f"sequence.grows_to: each of {len(sequence.grows_to)} lengths needs a step while the rate falls, and "
                f"training.steps = {training.steps} with training.decay_share = {training.decay_share} have {late}"
            )

    def weights(self, tasks: Iterable[str]) -> dict[str, float]:
        """The weight in the mixture of each of the data's `tasks`; the mixture may name more, for other data.

        Raises ValueError where nothing is left to learn, or where a name looks like a task's name misspelt.
        """
        weights = {task: self.mixture.get(task, 1.0) for task in tasks}
        usual = _usual_tasks()
        meant = [task for task in weights if task in usual or task not in self.mixture]
        for name in self.mixture.keys() - usual - weights.keys():
            near = difflib.get_close_matches(name, meant, n=1, cutoff=0.85)
            if near:
                raise ValueError(f"mixture.{name}: the data has no such task; did you mean {near[0]!r}?")
        if not any(weight > 0 for weight in weights.values()):
            raise ValueError(f"mixture: one of the tasks of the data must weigh more than 0: {', '.join(map(repr, weights))}")
        return weights


@cache
def _usual_tasks() -> frozenset[str]:
    """The tasks that the recipe `tiny` weighs, which most runs bring along, whatever their data hold."""
    return frozenset(read_tree(find_recipe("tiny"))["mixture"])


def find_recipe(name: str | Path, kind: str = "") -> Path:
    """The file of a recipe: a path, or the name of one that comes with Ernest, of a training or of the `kind` "rl" or "sft".
    Raises ValueError where there is none."""
    folder = Path(__file__).parent / "recipes" / kind
    shipped = folder / f"{name}.toml"
    if shipped.is_file():
        return shipped
    if Path(name).is_file():
        return Path(name)
    names = ", ".join(sorted(path.stem for path in folder.glob("*.toml")))
    raise ValueError(f"recipe {str(name)!r}: neither a file nor one of {names}")


def load_recipe(path: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a TOML file with overrides such as `training.steps=100`.

    Raises ValueError that names the field for an unknown name or a value of the wrong type.
    """
    return recipe_of(read_tree(path, overrides, NAMED))


def recipe_of(tree: dict[str, Any]) -> Recipe:
    """The recipe of tables that say what differs from the defaults. Raises ValueError as `load_recipe` does."""
    model = tree.get("model", {})
    if not isinstance(model, Mapping):
        raise ValueError(f"model: expected a table, got {model!r}")
    for name in NOT_BUILT:
        if isinstance(tree.get("parallel"), Mapping) and name in tree["parallel"]:
            raise ValueError(f"parallel.{name}: not built; parallel.replicate, shard, expert and tensor are")
    tree["model"] = sized(build(int, tree.get("size", Recipe.size), "size")) | dict(model)
    return build(Recipe, tree)


def to_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested dictionaries, ready for JSON; numbers of numpy are plain ones in it."""
    return _plain(asdict(recipe))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value.item() if hasattr(value, "item") else value


def from_tree(tree: Mapping[str, Any]) -> Recipe:
    """The recipe of nested dictionaries, the inverse of `to_tree`."""
    return build(Recipe, dict(tree))


def read_recipe(path: Path) -> Recipe:
    """The recipe that a run keeps as JSON. Raises ValueError, which names the file, for what is none."""
    try:
        return from_tree(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: no recipe of a training: {error}") from error
