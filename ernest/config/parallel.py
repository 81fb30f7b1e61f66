"""The `[parallel]` table of a recipe: how processes share a run."""

from dataclasses import dataclass

from ernest.overrides import check_least


@dataclass(frozen=True)
class ParallelConfig:
    """How processes share a run; checked where they meet (`ernest.training.group`)."""

    replicate: int = 0
    """Processes that hold the whole model and share the rows of a step; 0 takes those that a launcher such as torchrun started
    or, without one, one per core, up to eight and to the rows of a step. They share the cores as threads."""
    shard: int = 1
    """Processes among which each copy of the model is dealt out: every one holds a part of each parameter, of its gradient and of
    its moments. `replicate` counts the copies then, one where nothing is said."""
    expert: int = 1
    """Processes over which the experts of each layer are dealt out: tokens go where their experts are. All else is in each of
    them, or as often as `shard` says."""
    tensor: int = 1
    """Processes over which the matrices of attention are cut by heads, and those of every expert by its hidden width; they take
    the same rows. All else is in each of them. There are `replicate` x `expert` x `shard` x `tensor` processes."""
    checkpoint_activations: bool = False
    """Keep the input of each layer alone for the backward pass, and compute the layer once more there: less memory, more time."""

    def __post_init__(self) -> None:
        check_least(self, "parallel", replicate=0, shard=1, expert=1, tensor=1)

    @property
    def asked(self) -> int:
        """The number of processes, 0 where that is left open."""
        return self.replicate if self.keeps_whole else max(1, self.replicate) * self.parts

    @property
    def parts(self) -> int:
        """The number of processes that hold a copy of the model together."""
        return self.shard * self.expert * self.tensor

    @property
    def keeps_whole(self) -> bool:
        """Whether each process holds the whole model."""
        return self.parts == 1

    def __str__(self) -> str:
        """The settings that count processes, as in a recipe."""
        more = [f"parallel.{name} = {getattr(self, name)}" for name in ("shard", "expert", "tensor") if getattr(self, name) > 1]
        return " and ".join([f"parallel.replicate = {self.replicate}", *more])


NOT_BUILT = ("pipeline", "context", "compile")
"""What other trainers call so in this table and a recipe cannot ask for."""
