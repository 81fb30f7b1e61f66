"""How ranks share a model: the divisor of every parameter, and what does not fit."""

from dataclasses import dataclass, replace

from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import Recipe
from ernest.config.stages import fewest_rows, parts
from ernest.overrides import build, read_tree

SIZES = "replicate", "shard", "expert", "tensor", "pipeline"
"""The sizes of a layout, in the order in which ranks are numbered, the last fastest."""


@dataclass(frozen=True)
class Layout:
    """A mesh of `replicate` x `shard` x `expert` x `tensor` x `pipeline` ranks, all but the last as a recipe's `[parallel]` has
    them: the first three have rows of their own; `shard` cuts every parameter, `expert` deals the experts out and holds the rest
    whole, `tensor` cuts the matrices of attention and of experts and holds the rest whole, `pipeline` deals the layers out,
    through which rows then pass one after the other."""

    replicate: int = 1
    shard: int = 1
    expert: int = 1
    tensor: int = 1
    pipeline: int = 1
    checkpoint_activations: bool = False

    @property
    def ranks(self) -> int:
        return self.data * self.tensor * self.pipeline

    @property
    def data(self) -> int:
        """Ranks with rows of their own."""
        return self.replicate * self.shard * self.expert

    @property
    def expert_divisor(self) -> int:
        """Parts that the matrices of all experts are in. Each lies on `replicate` ranks; but their gradient is over the tokens of
        all `data` ranks, since every one of those sends tokens to it."""
        return self.matrix_divisor * self.expert

    @property
    def matrix_divisor(self) -> int:
        """Parts that the matrices of attention are in."""
        return self.dense_divisor * self.tensor

    @property
    def dense_divisor(self) -> int:
        """Parts that everything else is in; of `pipeline`, on average."""
        return self.shard * self.pipeline

    @property
    def built(self) -> bool:
        """Whether `ernest train` can run it; others are on paper."""
        return self.pipeline == 1

    @property
    def parallel(self) -> ParallelConfig:
        """All but the pipeline as a recipe has it."""
        return ParallelConfig(self.replicate, self.shard, self.expert, self.tensor, self.checkpoint_activations)

    def in_flight(self, rows: int) -> int:
        """Of the `rows` of a step, those of which the first stage of a rank keeps activations: all, or one for each stage."""
        own = -(-rows // self.data)
        return own if self.pipeline == 1 else min(own, self.pipeline)


def read_layout(text: str) -> Layout:
    """The layout of "expert=64,tensor=4,pipeline=12". Raises ValueError that names an unknown field or a wrong value."""
    return build(Layout, read_tree(None, text.split(",")), "layout")


def check_layout(recipe: Recipe, layout: Layout, devices: int) -> None:
    """Raises ValueError, in one line, where a layout does not fit the devices, or the recipe cannot be dealt out so."""
    model = recipe.model
    for name in SIZES:
        if getattr(layout, name) < 1:
            raise ValueError(f"{name} = {getattr(layout, name)} must be at least 1")
    if layout.ranks != devices:
        raise ValueError(f"the layout has {layout.ranks} ranks, and there are {devices} devices")
    replace(recipe, parallel=layout.parallel)  # which checks itself
    if model.layers % layout.pipeline:
        raise ValueError(f"pipeline = {layout.pipeline} does not divide model.layers = {model.layers}")
    if recipe.sequence.rows % layout.data:
        raise ValueError(f"{layout.data} ranks with rows of their own do not divide sequence.rows = {recipe.sequence.rows}")
    if any(part.sequence.rows % layout.data for part in parts(recipe)) or fewest_rows(recipe) < layout.data:
        raise ValueError(f"{layout.data} ranks with rows of their own do not share steps of as few as {fewest_rows(recipe)} rows")
