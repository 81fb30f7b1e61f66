"""Bytes and seconds of one rank for one step: parameters, gradients, moments, activations, buffers, products and links.

Letters: D width, G heads, K key heads, d head width, N experts, k of them per position, H width of an expert, S positions of a
document, V tokens of the vocabulary.
"""

from dataclasses import dataclass, replace

from ernest.config.recipe import Recipe
from ernest.config.sizes import BLOCK
from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import usual_spec
from ernest.model.cost import trained_parameters, training_flops
from ernest.planner.devices import Device
from ernest.planner.layout import Layout

WIDE, NARROW = 4, 2
"""Bytes of float32 and bfloat16."""


@dataclass(frozen=True)
class Plan:
    """What one rank needs: bytes of each kind; floating-point operations of a step, and those of them that are of experts in
    widths that the device's kernels do not take; bytes that it moves through its memory and over its link in a step; seconds of
    each at the device's rates, and of waiting for other stages of a pipeline. Rates that a maker tells are reached by no run,
    those of a calibration are."""

    parameters: float
    gradients: float
    moments: float
    activations: float
    buffers: float
    process: float
    flops: float
    odd_flops: float
    moved: float
    sent: float
    compute_seconds: float
    memory_seconds: float
    link_seconds: float
    waiting_seconds: float
    positions: int

    @property
    def peak(self) -> float:
        """The most bytes at once. A backward pass gives activations up as it makes gradients; but these are larger tensors, and
        lie beside the holes that those leave."""
        return self.process + self.parameters + self.gradients + self.moments + self.activations + self.buffers

    @property
    def seconds(self) -> float:
        """Of a step, one after the other."""
        return self.compute_seconds + self.memory_seconds + self.link_seconds + self.waiting_seconds


def plan(recipe: Recipe, layout: Layout, device: Device, document: int | None = None) -> Plan:
    """What one rank of a layout needs for a step of a recipe, all of whose positions are text, in documents of which a position
    sees `document` positions on average or, where none is told, in one a row."""
    model, rows = recipe.model, -(-recipe.sequence.rows // layout.data)
    positions, seen = rows * recipe.sequence.length, document or recipe.sequence.length
    count = split_parameters(recipe)
    own = count.experts / layout.expert_divisor + count.matrices / layout.matrix_divisor + count.rest / layout.dense_divisor
    bf16 = device.bf16 if recipe.training.bf16 is None else recipe.training.bf16
    made, kept = _activations(recipe, layout, positions, seen if device.keeps_shares else 0, bf16)
    flops, odd_flops = _products(model, layout, device, positions, seen)
    # Activations and their gradients are written and read; weights are read twice and their gradient is written; the optimiser
    # reads weights, gradients and two moments, and writes all but gradients.
    moved = _passes(layout) * 4 * made + (3 + 7) * WIDE * own
    sent = _sent(model, layout, count, positions, NARROW if bf16 else WIDE)
    crowd = device.crowd if layout.ranks > 1 else 1.0
    compute = crowd * ((flops + (device.odd - 1) * odd_flops) / device.rate + _passes(layout) * device.fixed)
    seconds = compute, crowd * moved / device.bandwidth, sent / device.link
    return Plan(
        parameters=WIDE * own,
        gradients=WIDE * own,
        moments=2 * WIDE * own,
        activations=device.slack * kept,
        buffers=_buffers(model, layout, own - _uncopied(count, model, layout, device), bf16),
        process=device.process,
        flops=flops,
        odd_flops=odd_flops,
        moved=moved,
        sent=sent,
        compute_seconds=seconds[0],
        memory_seconds=seconds[1],
        link_seconds=seconds[2],
        waiting_seconds=(layout.pipeline - 1) / rows * sum(seconds),  # P - 1 passes of a row, of M that it takes part in
        positions=positions,
    )


def _passes(layout: Layout) -> float:
    """How many times as much is computed: with checkpointing the forward pass, a third of the whole, is taken twice."""
    return 4 / 3 if layout.checkpoint_activations else 1.0


def _activations(recipe: Recipe, layout: Layout, positions: int, shares: int, bf16: bool) -> tuple[float, float]:
    """Bytes of activations of a rank: all that are made in a step, and those that are kept at once."""
    in_flight = layout.in_flight(recipe.sequence.rows) * recipe.sequence.length
    made = activations(recipe, positions, shares, bf16, replace(layout, checkpoint_activations=False))
    return made / layout.pipeline, activations(recipe, in_flight, shares, bf16, layout) / layout.pipeline


def _products(model: ModelConfig, layout: Layout, device: Device, positions: int, seen: int) -> tuple[float, float]:
    """FLOPs of a rank in a step, and those of them that are of experts in widths that its kernels do not take."""
    router = 6 * model.layers * model.width * model.experts  # the only product that ranks of one `tensor` all take
    expert = 18 * model.layers * model.top_k * model.width * model.expert_width  # of a position, in all its experts
    taken = _passes(layout) * positions
    flops = taken * ((training_flops(model, seen) - router) / layout.tensor + router) / layout.pipeline
    odd = _has_odd_experts(model, layout, device)
    return flops, taken * expert / layout.tensor / layout.pipeline if odd else 0.0


@dataclass(frozen=True)
class Parameters:
    """How many parameters a network trains: those of the backbone's experts; of what else `tensor` cuts, the matrices of
    attention and the expert of the module of the token after next; and the rest."""

    experts: int
    matrices: int
    rest: int

    @property
    def total(self) -> int:
        return self.experts + self.matrices + self.rest


def split_parameters(recipe: Recipe) -> Parameters:
    """The parameters of a recipe's network by what cuts them."""
    model = recipe.model
    expert = 3 * model.width * model.expert_width
    experts = model.layers * model.experts * expert
    matrices = (model.layers + model.multi_token) * _attention(model) + model.multi_token * 2 * expert
    total = trained_parameters(model, usual_spec(recipe.tokenizers.vocabulary, recipe.media))
    return Parameters(experts, matrices, total - experts - matrices)


def _attention(model: ModelConfig) -> int:
    """Of a layer: D (2 G + 2 K) d."""
    return 2 * (model.heads + model.kv_heads) * model.head_dim * model.width


def activations(recipe: Recipe, positions: int, shares: int, bf16: bool, layout: Layout) -> float:
    """Bytes that the forward pass of a batch keeps for the backward; `shares` positions are those whose shares are kept.

    With checkpointing, each layer keeps its input, and one layer at a time the rest.
    """
    model, narrow, tensor = recipe.model, NARROW if bf16 else WIDE, layout.tensor
    layer = _layer(model, shares, narrow, tensor)
    kept = model.layers * layer
    if layout.checkpoint_activations:
        kept = model.layers * WIDE * model.width + layer
    vocabulary = recipe.tokenizers.vocabulary
    kept += WIDE * (2 * model.width + vocabulary)  # the final norm and the logarithms of the text's probabilities
    if model.multi_token:
        dense = replace(model, experts=1, top_k=1, expert_width=2 * model.expert_width)
        kept += _layer(dense, shares, narrow, tensor) + WIDE * (5 * model.width + vocabulary)
    return positions * kept


def _layer(model: ModelConfig, shares: int, narrow: int, tensor: int) -> float:
    """Of a position: 5 D + (G + 2 K) d + G S + N + 2 k H + 3 k numbers, of which `tensor` cuts one D and those with G, K or H.
    Under autocast the first norm, queries, keys, values and what attention gives are narrow."""
    cut = model.heads * shares + 2 * model.top_k * model.expert_width
    wide = 3 * model.width + cut / tensor + model.experts + 3 * model.top_k
    heads = 2 * model.heads + 2 * model.kv_heads
    return WIDE * wide + narrow * (model.width + heads * model.head_dim / tensor)


def _uncopied(count: Parameters, model: ModelConfig, layout: Layout, device: Device) -> float:
    """Those of a rank's experts that are narrowed number by number as they are read: by kernels for processors, of widths that
    these take."""
    taken = device.keeps_shares and not _has_odd_experts(model, layout, device)
    return count.experts / layout.expert_divisor if taken else 0.0


def _has_odd_experts(model: ModelConfig, layout: Layout, device: Device) -> bool:
    """Whether a processor's kernels do not take the widths of a rank's experts, which are then copied, and padded in blocks."""
    return device.keeps_shares and bool(model.width % BLOCK or model.expert_width % (BLOCK * layout.tensor))


def _buffers(model: ModelConfig, layout: Layout, narrowed: float, bf16: bool) -> float:
    """Narrow copies of those of the rank's weights that autocast copies and, where they are sharded, two whole layers that are
    gathered."""
    copies = NARROW * narrowed if bf16 else 0.0
    if layout.shard == 1:
        return copies
    experts = model.experts // layout.expert * 3 * model.width * model.expert_width
    return copies + 2 * (experts + _attention(model)) * (NARROW if bf16 else WIDE) / layout.tensor


def _sent(model: ModelConfig, layout: Layout, count: Parameters, positions: int, narrow: int) -> float:
    """Rings: a sum over n ranks sends 2 (n - 1) / n of what each holds, gathering or scattering half of that."""

    def ring(n: int) -> float:
        return (n - 1) / n

    # Parameters that the ranks of a shard hold together, and the ranks that hold the same ones.
    own = (
        (count.experts / layout.expert / layout.tensor, layout.replicate),
        (count.matrices / layout.tensor, layout.replicate * layout.expert),
        (count.rest, layout.replicate * layout.expert * layout.tensor),
    )
    replicas = sum(WIDE * 2 * ring(copies) * held / layout.shard for held, copies in own)
    shards = ring(layout.shard) * sum(held for held, _ in own) * (2 * narrow + WIDE)  # gathered twice, gradients scattered
    passes = 3 if layout.checkpoint_activations else 2  # through the layers
    others = (layout.expert - 1) * (1 - (1 - 1 / layout.expert) ** model.top_k)  # with experts of a token, chosen evenly
    tokens = others * positions * model.width * narrow * 2 * passes * model.layers  # there and back
    tensors = 2 * ring(layout.tensor) * positions * model.width * WIDE * 2 * passes * model.layers  # of attention and of experts
    stage = 2 * positions * model.width * narrow * (layout.pipeline > 1)  # to the next one, and gradients to the one before
    return (replicas + shards + tokens + tensors) / layout.pipeline + stage
