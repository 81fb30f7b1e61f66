"""What other calculators say of the same model: Megatron-LM's formula of activations, DeepSpeed's estimate of states."""

from ernest.config.recipe import Recipe
from ernest.planner.layout import Layout
from ernest.planner.plan import split_parameters


def megatron_activations(recipe: Recipe, layout: Layout, shares: int = 0) -> float:
    """Bytes a rank keeps of the rows in flight: S D (34 + 5 G s / D) a layer and 4 S (D + V) behind the last, by all T ranks of
    tensors alike ("Reducing Activation Recomputation in Large Transformer Models", 2205.05198, eq. 2 and 4.3).

    For a dense block of width 4 D in two-byte numbers; s are the positions whose `shares` attention keeps, 0 with kernels that do
    not.
    """
    model, length = recipe.model, recipe.sequence.length
    layer = length * model.width * 34 + 5 * length * model.heads * shares
    behind = 4 * length * (model.width + recipe.tokenizers.vocabulary)
    return layout.in_flight(recipe.sequence.rows) * (model.layers * layer + behind) / (layout.tensor * layout.pipeline)


def deepspeed_states(recipe: Recipe, layout: Layout) -> float:
    """Bytes a rank holds of weights, gradients and moments under ZeRO's third stage: 18 bytes a parameter over all ranks, and
    4 of the largest module's, gathered (`estimate_zero3_model_states_mem_needs`)."""
    count = split_parameters(recipe)
    return 18 * count.total / layout.ranks + 4 * count.experts / recipe.model.layers
