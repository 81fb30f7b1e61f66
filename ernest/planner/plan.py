"""Bytes and seconds of one rank for one step: parameters, gradients, moments, activations, buffers, products and links.

Letters: D width, G heads, K key heads, d head width, N experts, k of them per position, H width of an expert, S positions of a
document, V tokens of the vocabulary.
"""

from dataclasses import dataclass, replace

from ernest.config.recipe import ModelConfig, Recipe
from ernest.config.tokenizer_spec import usual_spec
from ernest.model.cost import trained_parameters, training_flops
from ernest.planner.devices import Device
from ernest.planner.layout import Layout

WIDE, NARROW = 4, 2
"""Bytes of float32 and bfloat16."""


@dataclass(frozen=True)
class Plan:
    """Of one rank: bytes of each kind; floating-point operations of a step; bytes that it moves through its memory and over its
    link in a step; seconds of each at the device's rates, and of waiting for other stages of a pipeline. Rates that a maker tells
    are reached by no run, those of a calibration are."""

    parameters: float
    gradients: float
    moments: float
    activations: float
    buffers: float
    process: float
    flops: float
    moved: float
    sent: float
    compute_seconds: float
    memory_seconds: float
    link_seconds: float
    waiting_seconds: float
    positions: int

    @property
    def peak(self) -> float:
        """Bytes, all of which are there when the backward pass begins."""
        return self.process + self.parameters + self.gradients + self.moments + self.activations + self.buffers

    @property
    def seconds(self) -> float:
        """Of a step, one after the other."""
        return self.compute_seconds + self.memory_seconds + self.link_seconds + self.waiting_seconds


def plan(recipe: Recipe, layout: Layout, device: Device, document: int | None = None) -> Plan:
    """What one rank of a layout needs for a step of a recipe, all of whose positions are text, in documents of `document`
    positions or, where none is told, in one a row."""
    model, rows = recipe.model, -(-recipe.sequence.rows // layout.data)
    positions = rows * recipe.sequence.length
    experts, dense = split_parameters(recipe)
    own = experts / layout.expert_divisor + dense / layout.dense_divisor
    bf16 = device.bf16 if recipe.training.bf16 is None else recipe.training.bf16
    seen = document or recipe.sequence.length
    shares = seen if device.keeps_shares else 0
    in_flight = layout.in_flight(recipe.sequence.rows) * recipe.sequence.length
    cut = layout.tensor * layout.pipeline
    made, kept = (
        activations(recipe, held, shares, bf16, replace(layout, checkpoint_activations=saves)) / cut
        for held, saves in ((positions, False), (in_flight, layout.checkpoint_activations))
    )
    again = 4 / 3 if layout.checkpoint_activations else 1.0  # the forward pass, a third of the whole, is taken twice
    flops = again * positions * training_flops(model, seen) / cut
    # Activations and their gradients are written and read; weights are read twice and their gradient is written; the optimiser
    # reads weights, gradients and two moments, and writes all but gradients.
    moved = again * 4 * made + (3 + 7) * WIDE * own
    sent = _sent(model, layout, experts, dense, positions, NARROW if bf16 else WIDE)
    compute = flops / device.rate + again * positions * model.layers * device.overhead / layout.pipeline
    seconds = compute, moved / device.bandwidth, sent / device.link
    return Plan(
        parameters=WIDE * own,
        gradients=WIDE * own,
        moments=2 * WIDE * own,
        activations=device.slack * kept,
        buffers=_buffers(model, layout, own, bf16),
        process=device.process,
        flops=flops,
        moved=moved,
        sent=sent,
        compute_seconds=seconds[0],
        memory_seconds=seconds[1],
        link_seconds=seconds[2],
        waiting_seconds=(layout.pipeline - 1) / rows * sum(seconds),  # P - 1 passes of a row, of M that it takes part in
        positions=positions,
    )


def split_parameters(recipe: Recipe) -> tuple[int, int]:
    """Of the backbone's experts, and all others of a state of training."""
    model = recipe.model
    experts = model.layers * model.experts * 3 * model.width * model.expert_width
    return experts, trained_parameters(model, usual_spec(recipe.tokenizers.vocabulary, recipe.media)) - experts


def activations(recipe: Recipe, positions: int, shares: int, bf16: bool, layout: Layout) -> float:
    """Bytes that the forward pass of a batch keeps for the backward; `shares` positions are those whose shares are kept.

    With checkpointing, each layer keeps its input, and one layer at a time the rest.
    """
    model, narrow = recipe.model, NARROW if bf16 else WIDE
    layer = _layer(model, shares, narrow)
    kept = model.layers * layer
    if layout.checkpoint_activations:
        kept = model.layers * WIDE * model.width + layer
    vocabulary = recipe.tokenizers.vocabulary
    kept += WIDE * (2 * model.width + vocabulary)  # the final norm and the logarithms of the text's probabilities
    if model.multi_token:
        dense = replace(model, experts=1, top_k=1, expert_width=2 * model.expert_width)
        kept += _layer(dense, shares, narrow) + WIDE * (5 * model.width + vocabulary)
    return positions * kept


def _layer(model: ModelConfig, shares: int, narrow: int) -> float:
    """Of a position: 5 D + (G + 2 K) d + G S + N + 2 k H + 3 k numbers. Under autocast the first norm, queries, keys, values and
    what attention gives are narrow."""
    heads = model.heads + 2 * model.kv_heads
    wide = 3 * model.width + model.heads * shares + model.experts + 2 * model.top_k * model.expert_width + 3 * model.top_k
    return WIDE * wide + narrow * (2 * model.width + heads * model.head_dim)


def _buffers(model: ModelConfig, layout: Layout, own: float, bf16: bool) -> float:
    """Narrow copies of the rank's weights under autocast and, where they are sharded, two whole layers that are gathered."""
    copies = NARROW * own if bf16 else 0.0
    if layout.shard == 1:
        return copies
    experts = model.experts // layout.expert * 3 * model.width * model.expert_width
    attention = 2 * (model.heads + model.kv_heads) * model.head_dim * model.width
    return copies + 2 * (experts + attention) * (NARROW if bf16 else WIDE) / layout.tensor


def _sent(model: ModelConfig, layout: Layout, experts: float, dense: float, positions: int, narrow: int) -> float:
    """Rings: a sum over n ranks sends 2 (n - 1) / n of what each holds, gathering or scattering half of that."""

    def ring(n: int) -> float:
        return (n - 1) / n

    held = experts / layout.expert + dense  # by the ranks of a shard together
    own = held / layout.shard
    stage = 2 * positions * model.width * narrow * (layout.pipeline > 1)  # to the next one, and gradients to the one before
    replicas = WIDE * 2 * (ring(layout.replicate) * own + ring(layout.expert) * dense / layout.shard)
    shards = ring(layout.shard) * held * (2 * narrow + WIDE)  # gathered forward and backward, gradients scattered
    others = (layout.expert - 1) * (1 - (1 - 1 / layout.expert) ** model.top_k)  # with experts of a token, chosen evenly
    tokens = others * positions * model.width * narrow * 4 * model.layers  # there and back, twice
    tensors = ring(layout.tensor) * 2 * positions * model.width * narrow * 4 * model.layers
    return ((replicas + shards + tokens) / layout.tensor + tensors) / layout.pipeline + stage / layout.tensor
