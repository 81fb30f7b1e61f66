"""How ranks share a model: the divisor of every parameter, and what does not fit."""

from dataclasses import dataclass

from ernest.config.recipe import Recipe


@dataclass(frozen=True)
class Layout:
    """A mesh of `replicate` x `shard` x `expert` x `tensor` ranks, the first three as a recipe's `[parallel]` has them. All but
    those of `tensor` take rows of their own; `shard` cuts every parameter, `expert` deals the experts out and holds the rest
    whole, `tensor` cuts matrices."""

    replicate: int = 1
    shard: int = 1
    expert: int = 1
    tensor: int = 1
    checkpoint_activations: bool = False

    @property
    def ranks(self) -> int:
        return self.data * self.tensor

    @property
    def data(self) -> int:
        """Ranks with rows of their own."""
        return self.replicate * self.shard * self.expert

    @property
    def expert_divisor(self) -> int:
        """Parts that the matrices of all experts are in. Each lies on `replicate` ranks; but their gradient is over the tokens of
        all `data` ranks, since every one of those sends tokens to it."""
        return self.shard * self.expert * self.tensor

    @property
    def dense_divisor(self) -> int:
        """Parts that everything else is in."""
        return self.shard * self.tensor

    @property
    def built(self) -> bool:
        """Whether `ernest train` can run it; others are on paper."""
        return self.tensor == 1


def check_layout(recipe: Recipe, layout: Layout, devices: int) -> None:
    """Raises ValueError, in one line, where a layout does not fit the devices, the experts, the heads or the rows."""
    model = recipe.model
    for name in ("replicate", "shard", "expert", "tensor"):
        if getattr(layout, name) < 1:
            raise ValueError(f"{name} = {getattr(layout, name)} must be at least 1")
    if layout.ranks != devices:
        raise ValueError(f"the layout has {layout.ranks} ranks, and there are {devices} devices")
    if model.experts % layout.expert:
        raise ValueError(f"expert = {layout.expert} does not divide model.experts = {model.experts}")
    if model.kv_heads % layout.tensor:
        raise ValueError(f"tensor = {layout.tensor} does not divide model.kv_heads = {model.kv_heads}")
    if recipe.sequence.rows % layout.data:
        raise ValueError(f"{layout.data} ranks with rows of their own do not divide sequence.rows = {recipe.sequence.rows}")
