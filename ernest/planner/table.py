"""Shows what layouts need, one a line, and why others do not fit."""

from collections import Counter
from collections.abc import Sequence

from ernest.config.recipe import Recipe
from ernest.config.stages import has_stages, in_longest_rows, longest
from ernest.config.tokenizer_spec import usual_spec
from ernest.model.cost import active_parameters, total_parameters
from ernest.planner.layout import SIZES, Layout
from ernest.planner.peers import deepspeed_states, megatron_activations
from ernest.planner.pipeline import simulate
from ernest.planner.plan import Plan
from ernest.planner.search import Candidate

HEAD = (
    "layout",
    "weights",
    "gradients",
    "moments",
    "activations",
    "buffers",
    "peak",
    "products",
    "memory",
    "links",
    "positions / day",
    "",
)
DAY = 86400
UNEVEN = 0.0, 0.3, 0.6, 1.0
"""Standard deviations of the logarithm of the experts' popularity, for simulated steps."""


def show(recipe: Recipe, found: Sequence[Candidate], most: int = 12) -> str:
    """A table of up to `most` layouts that fit, and in how many ways others do not."""
    model, spec = recipe.model, usual_spec(recipe.tokenizers.vocabulary, recipe.media)
    total, active = total_parameters(model, spec), active_parameters(model)
    fits, last = [one for one in found if one.against is None], longest(recipe)
    lines = [
        str(recipe.media),
        f"{total / 1e6:,.1f} million parameters, {active / 1e6:,.2f} million of the backbone active ({active / total:.1%}); "
        f"{recipe.sequence.rows * recipe.sequence.length:,} positions a step"
        + (f", in mid-training {last.rows} rows of {last.length:,}, as planned here" if has_stages(recipe) else ""),
        f"{len(fits)} of {len(found)} layouts fit; a rank in GB, a step in ms at the device's rates, one after the other:",
    ]
    rows = [HEAD, *(_row(one.layout, one.plan) for one in fits[:most] if one.plan is not None)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows if fits]
    against = Counter(one.against for one in found if one.against is not None)
    lines += [f"does not fit ({count}): {reason}" for reason, count in against.most_common(8)]
    return "\n".join(lines)


def show_simulated(recipe: Recipe, layout: Layout) -> str:
    """Steps of a layout with experts chosen ever more unevenly, a line each; and what other calculators say of its memory."""
    recipe = in_longest_rows(recipe)
    lines = [
        f"a simulated step, its rows one after the other through {layout.pipeline} stages, by how unevenly experts are chosen:"
    ]
    for uneven in UNEVEN:
        step = simulate(recipe, layout, uneven)
        lines.append(
            f"  spread {uneven:.1f}: busiest expert {step.busiest_expert:.2f} x its even part, busiest rank "
            f"{step.busiest_rank:.2f} x; {step.time:.2f} x the time without bubbles and evenly; stages wait {step.waiting:.1%}"
        )
    lines.append(f"activations by Megatron-LM's formula for dense blocks: {megatron_activations(recipe, layout) / 1e9:,.2f} GB")
    lines.append(
        f"weights, gradients and moments by DeepSpeed's estimate, stage 3: {deepspeed_states(recipe, layout) / 1e9:,.2f} GB"
    )
    return "\n".join(lines)


def _row(layout: Layout, needs: Plan) -> tuple[str, ...]:
    kinds = needs.parameters, needs.gradients, needs.moments, needs.activations, needs.buffers, needs.peak
    positions = needs.positions * layout.data * DAY / needs.seconds
    parts = needs.compute_seconds, needs.memory_seconds, needs.link_seconds
    figures = *(f"{kind / 1e9:,.2f}" for kind in kinds), *(f"{1e3 * part:,.1f}" for part in parts), f"{positions:,.0f}"
    return _name(layout), *figures, "" if layout.built else "on paper"


def _name(layout: Layout) -> str:
    sizes = [f"{name} {getattr(layout, name)}" for name in SIZES if getattr(layout, name) > 1]
    return ", ".join([*(sizes or ["one rank"]), *(["checkpointing"] if layout.checkpoint_activations else [])])
